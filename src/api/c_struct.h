// Structs of the C API that start with their size, so that they can grow at their end.
#ifndef PAGODA_API_C_STRUCT_H_
#define PAGODA_API_C_STRUCT_H_

#include <algorithm>
#include <cstring>

#include "core/checks.h"
#include "pagoda/status.h"

namespace pagoda {

// A struct's name, its size in the first version that had it, and its _init function.
template <class T>
struct CStruct {
  const char* name;
  size_t first_size;
  void (*init)(T*);
};

template <class T>
Status check_c_struct(const CStruct<T>& type, const T* caller) {
  if (caller == nullptr) return invalid_argument(type.name, ": got null, wants a pointer");
  if (caller->struct_size < type.first_size) {
    return invalid_argument(type.name, ": got struct_size ", caller->struct_size, ", wants ",
                            type.first_size, " or more; call its _init function first");
  }
  if (caller->struct_size <= sizeof(T)) return {};
  return invalid_argument(type.name, ": got struct_size ", caller->struct_size,
                          ", this library knows ", sizeof(T),
                          " bytes; call its _init function first, or update the library");
}

// What the caller's version of the struct has, and the defaults of what came later.
template <class T>
Status read_c_struct(const CStruct<T>& type, const T* caller, T* full) {
  PAGODA_RETURN_IF_ERROR(check_c_struct(type, caller));
  type.init(full);
  std::memcpy(full, caller, std::min(caller->struct_size, sizeof(T)));
  full->struct_size = sizeof(T);
  return {};
}

// As much of `full` as the caller's version of the struct has.
template <class T>
void write_c_struct(T full, T* caller) {
  full.struct_size = caller->struct_size;
  std::memcpy(caller, &full, caller->struct_size);
}

}  // namespace pagoda

#endif  // PAGODA_API_C_STRUCT_H_
