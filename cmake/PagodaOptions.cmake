# pagoda_options: what every target of the project is compiled with; never exported.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_package(Threads REQUIRED)

add_library(pagoda_options INTERFACE)
target_compile_features(pagoda_options INTERFACE cxx_std_20 c_std_99)
# -ffp-contract=off: a fused multiply-add is written where one is meant, so that every instruction
# set and compiler rounds alike. -Wno-psabi: vectors wider than the baseline's registers are never
# passed to a function that is not inlined. The last row: warnings of g++ 12 that come from its
# optimiser and misfire on its own headers; clang and the sanitizers look for the same mistakes.
target_compile_options(pagoda_options INTERFACE
  $<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wshadow>
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-psabi;-ffp-contract=off>
  $<$<AND:$<COMPILE_LANGUAGE:C,CXX>,$<BOOL:${PAGODA_WERROR}>>:-Werror>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-array-bounds;-Wno-maybe-uninitialized;-Wno-restrict;-Wno-stringop-overflow>)
if(PAGODA_SANITIZE)
  target_compile_options(pagoda_options INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${PAGODA_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
  target_link_options(pagoda_options INTERFACE -fsanitize=${PAGODA_SANITIZE})
endif()
