# THE list of compiled attention kernels. Each row becomes one generated .cu, compiled by itself, and
# one line of the table in attention_kernels.inc. Fewer, for a quick build:
#   -DPAGODA_CUDA_KV_DTYPES=BFloat16 -DPAGODA_CUDA_HEAD_DIMS=128
set(PAGODA_CUDA_KV_DTYPES BFloat16 Float16 Float8E4M3 Float8E5M2 int8_t
    CACHE STRING "Types of K and V with CUDA kernels")
set(PAGODA_CUDA_HEAD_DIMS 64 128 256 CACHE STRING "head_dims with CUDA kernels, ascending")

set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
set(PAGODA_KERNEL_INSTANCES)
set(table "")
set(prefill_table "")
foreach(head_dim ${PAGODA_CUDA_HEAD_DIMS})
  foreach(type ${PAGODA_CUDA_KV_DTYPES})
    # First the kernel of plain logits and masks, then the one that has every feature.
    foreach(plain true false)
      if(plain)
        set(name ${type}_${head_dim}_plain)
      else()
        set(name ${type}_${head_dim})
      endif()
      set(instance ${generated}/attention_${name}.cu)
      configure_file(${PROJECT_SOURCE_DIR}/cmake/attention_instance.cu.in ${instance} @ONLY)
      list(APPEND PAGODA_KERNEL_INSTANCES ${instance})
      string(APPEND table "PAGODA_KERNEL(kAttention_${name})\n")
    endforeach()
    # Prefill on wgmma, where no scale per token is needed.
    if(type MATCHES "16$" OR (head_dim LESS_EQUAL 128 AND type MATCHES "^Float8"))
      set(name ${type}_${head_dim})
      set(instance ${generated}/prefill_${name}.cu)
      configure_file(${PROJECT_SOURCE_DIR}/cmake/prefill_instance.cu.in ${instance} @ONLY)
      list(APPEND PAGODA_KERNEL_INSTANCES ${instance})
      string(APPEND prefill_table "PAGODA_KERNEL(kPrefill_${name})\n")
    endif()
  endforeach()
endforeach()
file(CONFIGURE OUTPUT ${generated}/attention_kernels.inc CONTENT "${table}" @ONLY)
file(CONFIGURE OUTPUT ${generated}/prefill_kernels.inc CONTENT "${prefill_table}" @ONLY)
