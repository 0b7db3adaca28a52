# Builds and runs tests/install/stranger with mien taken in one WAY, in the current folder and without a network.
cmake_minimum_required(VERSION 3.21)
get_filename_component(here "${CMAKE_CURRENT_LIST_DIR}" ABSOLUTE)
set(work "${CMAKE_CURRENT_BINARY_DIR}")
file(REMOVE_RECURSE "${work}/build" "${work}/prefix" "${work}/mien.tar.gz")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}: ${status}")
  endif()
endfunction()

set(options -DWAY=${WAY} -DMIEN_VERSION=${MIEN_VERSION})
if(WAY STREQUAL "fetch_content")
  # An archive, as a release is.
  execute_process(COMMAND "${CMAKE_COMMAND}" -E tar czf "${work}/mien.tar.gz" CMakeLists.txt LICENSE include third_party
                          examples/fer examples/cascade examples/photo
                  WORKING_DIRECTORY "${MIEN_SOURCE}" COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND options "-DMIEN_ARCHIVE=${work}/mien.tar.gz")
elseif(WAY STREQUAL "add_subdirectory")
  list(APPEND options "-DMIEN_SOURCE=${MIEN_SOURCE}")
else()
  execute_process(COMMAND "${CMAKE_COMMAND}" --install "${MIEN_BINARY}" --prefix "${work}/prefix" OUTPUT_QUIET
                  COMMAND_ERROR_IS_FATAL ANY)
  # Found again after the whole prefix has moved.
  file(REMOVE_RECURSE "${work}/moved")
  file(RENAME "${work}/prefix" "${work}/moved")
  list(APPEND options "-DCMAKE_PREFIX_PATH=${work}/moved")
endif()

if(WAY STREQUAL "pkg_config")
  find_program(pkg_config NAMES pkg-config pkgconf)
  if(NOT pkg_config)
    message("skipped: pkg-config is not installed")
    return()
  endif()
  set(ENV{PKG_CONFIG_PATH} "${work}/moved/share/pkgconfig")
  execute_process(COMMAND "${pkg_config}" --cflags --libs "mien = ${MIEN_VERSION}" OUTPUT_VARIABLE flags
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  run("${COMPILER}" -std=c++20 "${here}/stranger/main.cpp" "${here}/stranger/other.cpp" -o "${work}/stranger" ${flags})
  run("${work}/stranger")
  return()
endif()

run("${CMAKE_COMMAND}" -S "${here}/stranger" -B "${work}/build" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
    ${options})
run("${CMAKE_COMMAND}" --build "${work}/build")
run("${work}/build/stranger")
