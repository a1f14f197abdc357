# Every header compiles alone and may be included twice: one generated source per header, compiled
# and never linked. Public headers are included as a user would, the C API as C99 too.
function(pagoda_header_tests target)
  cmake_parse_arguments(arg "" "BASE;EXTENSION" "HEADERS" ${ARGN})
  set(sources "")
  foreach(header ${arg_HEADERS})
    file(RELATIVE_PATH name ${arg_BASE} ${header})
    string(MAKE_C_IDENTIFIER ${name} identifier)
    set(source ${PROJECT_BINARY_DIR}/header_tests/${target}/${identifier}.${arg_EXTENSION})
    file(CONFIGURE OUTPUT ${source}
         CONTENT "#include \"${name}\"\n#include \"${name}\"  // NOLINT\n")
    list(APPEND sources ${source})
  endforeach()
  add_library(${target} OBJECT ${sources})
  target_link_libraries(${target} PRIVATE pagoda_options)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:C,CXX>:-O0;-Wno-unused-function>
    $<$<COMPILE_LANGUAGE:CUDA>:--diag-suppress=177>)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
endfunction()

file(GLOB public_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/pagoda/*.h)
file(GLOB_RECURSE source_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.h)
file(GLOB_RECURSE cuda_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.h
                                                 ${PROJECT_SOURCE_DIR}/src/cuda/*.cuh)
# What the rest of the library sees of the CUDA backend needs no CUDA.
list(REMOVE_ITEM cuda_headers ${PROJECT_SOURCE_DIR}/src/cuda/backend_cuda.h)
list(REMOVE_ITEM source_headers ${cuda_headers})

pagoda_header_tests(header_test_public BASE ${PROJECT_SOURCE_DIR}/include EXTENSION cc
                    HEADERS ${public_headers})
pagoda_header_tests(header_test_src BASE ${PROJECT_SOURCE_DIR}/src EXTENSION cc
                    HEADERS ${source_headers})
target_include_directories(header_test_src PRIVATE ${PROJECT_SOURCE_DIR}/src)
pagoda_header_tests(header_test_c BASE ${PROJECT_SOURCE_DIR}/include EXTENSION c
                    HEADERS ${PROJECT_SOURCE_DIR}/include/pagoda/c_api.h)
set_target_properties(header_test_c PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
target_compile_options(header_test_c PRIVATE -Wpedantic -Wstrict-prototypes)

add_custom_target(header_tests)
if(PAGODA_CUDA_ENABLED)
  pagoda_header_tests(header_test_cuda BASE ${PROJECT_SOURCE_DIR}/src EXTENSION cu
                      HEADERS ${cuda_headers})
  target_include_directories(header_test_cuda PRIVATE ${PROJECT_SOURCE_DIR}/src)
  add_dependencies(header_tests header_test_cuda)
endif()
add_dependencies(header_tests header_test_public header_test_src header_test_c)
