# Finds nvcc where it is wanted. Sets PAGODA_CUDA_ENABLED.
set(PAGODA_CUDA_ENABLED OFF)
if(NOT PAGODA_WITH_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # wgmma exists only for the "a" target, and only as machine code.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90a-real)
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(PAGODA_CUDA_ENABLED ON)
  elseif(PAGODA_WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PAGODA_WITH_CUDA=ON: no CUDA compiler found; install nvcc 12.8 or later, "
                        "set CUDACXX, or use PAGODA_WITH_CUDA=OFF")
  endif()
endif()
message(STATUS "pagoda: CUDA ${PAGODA_CUDA_ENABLED}")

if(PAGODA_CUDA_ENABLED)
  # CMake 3.25 drops CMAKE_CUDA_STANDARD 20 silently with nvcc 13, so the flag is passed by hand.
  target_compile_options(pagoda_options INTERFACE
    $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-Xcompiler=-Wall>
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${PAGODA_WERROR}>>:-Werror=all-warnings>)
endif()
