# mien::precompiled: the library's large templates (float and bfloat16) compiled once, for shorter builds. Compiled only
# where something links it, and installed as source, as a library belongs to one compiler and its flags.
function(mien_add_precompiled source)
  add_library(mien_precompiled STATIC EXCLUDE_FROM_ALL "${source}")
  add_library(mien::precompiled ALIAS mien_precompiled)
  target_link_libraries(mien_precompiled PUBLIC mien::mien)
  target_compile_definitions(mien_precompiled INTERFACE MIEN_PRECOMPILED)
  # The linker leaves out of a program what it does not use, which is half of it.
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    target_compile_options(mien_precompiled PRIVATE -ffunction-sections -fdata-sections)
    target_link_options(mien_precompiled INTERFACE "LINKER:--gc-sections")
  endif()
endfunction()
