# Settings of mien's own programs, tests and benchmarks. Nothing here reaches a project that uses mien.

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
  find_program(MIEN_CCACHE ccache)
  if(MIEN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${MIEN_CCACHE}")
  endif()
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(mien_development INTERFACE)
target_compile_options(mien_development INTERFACE -Wall -Wextra -Wconversion -Wshadow)
if(MIEN_WARNINGS_AS_ERRORS)
  target_compile_options(mien_development INTERFACE -Werror)
endif()
if(MIEN_SANITIZE)
  set(mien_sanitize_flags -fsanitize=${MIEN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_compile_options(mien_development INTERFACE ${mien_sanitize_flags})
  target_link_options(mien_development INTERFACE ${mien_sanitize_flags})
endif()

# Compiled like everything that links it, sanitizers above all.
target_link_libraries(mien_precompiled PRIVATE mien_development)
set_target_properties(mien_precompiled PROPERTIES CXX_EXTENSIONS OFF CXX_COMPILER_LAUNCHER
                                                                     "${CMAKE_CXX_COMPILER_LAUNCHER}")

# Stops with the name of the Debian package if `target` does not exist.
function(mien_require target package purpose)
  if(NOT TARGET ${target})
    message(FATAL_ERROR "${purpose} need ${package} (Debian: apt-get install ${package}), or switch them off: "
                        "-DMIEN_EXAMPLES=OFF, -DMIEN_TESTS=OFF, -DMIEN_BENCH=OFF")
  endif()
endfunction()
