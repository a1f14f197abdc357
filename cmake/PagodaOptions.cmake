# pagoda_options: what every target of the project is compiled with; never exported.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

add_library(pagoda_options INTERFACE)
target_compile_features(pagoda_options INTERFACE cxx_std_20)
# -ffp-contract=off: a fused multiply-add is written where one is meant, so that every instruction
# set and compiler rounds alike.
target_compile_options(pagoda_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wno-psabi;-ffp-contract=off>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${PAGODA_WERROR}>>:-Werror>)
if(PAGODA_SANITIZE)
  target_compile_options(pagoda_options INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${PAGODA_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
  target_link_options(pagoda_options INTERFACE -fsanitize=${PAGODA_SANITIZE})
endif()
