# What `cmake --install` puts down: headers, the package for find_package(mien), and mien.pc for pkg-config.
include(CMakePackageConfigHelpers)

set(mien_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/mien")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/mien" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING
        PATTERN "*.hpp" PATTERN "*.inc" PATTERN "precompiled.cpp")
foreach(part fer cascade photo)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/examples/${part}"
          DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/mien-examples" FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inc")
endforeach()

# One export per component: a component's packages are asked for only by those who name it.
set(mien_component_mien mien)
set(mien_component_fer mien_fer)
set(mien_component_cascade mien_cascade)
foreach(component mien fer cascade)
  install(TARGETS ${mien_component_${component}} EXPORT mien-${component}-targets)
  install(EXPORT mien-${component}-targets NAMESPACE mien:: DESTINATION "${mien_package_dir}")
endforeach()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/mienConfig.cmake.in" "${PROJECT_BINARY_DIR}/mienConfig.cmake"
                              INSTALL_DESTINATION "${mien_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/mienConfigVersion.cmake" COMPATIBILITY SameMajorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/mienConfig.cmake" "${PROJECT_BINARY_DIR}/mienConfigVersion.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/FindStb.cmake" "${CMAKE_CURRENT_LIST_DIR}/MienPrecompiled.cmake"
        DESTINATION "${mien_package_dir}")

configure_file("${CMAKE_CURRENT_LIST_DIR}/mien.pc.in" "${PROJECT_BINARY_DIR}/mien.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/mien.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
