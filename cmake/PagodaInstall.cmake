# Headers, both libraries, the CMake package and pkg-config files.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pagoda)
set(generated_dir ${PROJECT_BINARY_DIR}/package)

install(TARGETS pagoda pagoda_static EXPORT pagoda_targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/pagoda DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(EXPORT pagoda_targets FILE pagodaTargets.cmake NAMESPACE pagoda::
        DESTINATION ${package_dir})
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/pagodaConfig.cmake.in ${generated_dir}/pagodaConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${generated_dir}/pagodaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${generated_dir}/pagodaConfig.cmake ${generated_dir}/pagodaConfigVersion.cmake
        DESTINATION ${package_dir})

# The prefix is found from where the .pc file lies, so that an installed tree may be moved.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR} OR IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
  set(pc_prefix ${CMAKE_INSTALL_PREFIX})
  set(pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
  set(pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
  file(RELATIVE_PATH pc_to_prefix /prefix/${pc_dir} /prefix)
  set(pc_prefix "\${pcfiledir}/${pc_to_prefix}")
  set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
set(pc_libs_private "-pthread -lstdc++ -lm")
if(PAGODA_CUDA_ENABLED)
  string(APPEND pc_libs_private " ${CUDA_cudart_static_LIBRARY} -ldl -lrt")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/pagoda.pc.in ${generated_dir}/pagoda.pc @ONLY)
install(FILES ${generated_dir}/pagoda.pc DESTINATION ${pc_dir})
