# THE list of compiled attention kernels. Each row becomes one generated .cu, compiled by itself, and
# one line of the table in attention_kernels.inc. Fewer, for a quick build:
#   -DPAGODA_CUDA_DTYPES=BFloat16 -DPAGODA_CUDA_HEAD_DIMS=128
set(PAGODA_CUDA_DTYPES BFloat16 Float16 CACHE STRING "Types of q, K and V with CUDA kernels")
set(PAGODA_CUDA_HEAD_DIMS 64 128 256 CACHE STRING "head_dims with CUDA kernels, ascending")

set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
set(PAGODA_KERNEL_INSTANCES)
set(table "")
foreach(head_dim ${PAGODA_CUDA_HEAD_DIMS})
  foreach(type ${PAGODA_CUDA_DTYPES})
    set(instance ${generated}/attention_${type}_${head_dim}.cu)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/attention_instance.cu.in ${instance} @ONLY)
    list(APPEND PAGODA_KERNEL_INSTANCES ${instance})
    string(APPEND table "PAGODA_KERNEL(kAttention_${type}_${head_dim})\n")
  endforeach()
endforeach()
file(CONFIGURE OUTPUT ${generated}/attention_kernels.inc CONTENT "${table}" @ONLY)
