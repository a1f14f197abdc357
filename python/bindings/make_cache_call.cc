#include <memory>

#include "cache_tensor.h"
#include "calls.h"
#include "errors.h"
#include "pagoda/kv_cache.h"

namespace pagoda::python {
namespace {

constexpr Field kFields[] = {
    {"num_pages", Kind::kInt64, offsetof(MakeKvCache, num_pages), true},
    {"num_kv_heads", Kind::kInt32, offsetof(MakeKvCache, num_kv_heads), true},
    {"head_dim", Kind::kInt32, offsetof(MakeKvCache, head_dim), true},
    {"dtype", Kind::kDType, offsetof(MakeKvCache, dtype)},
    {"page_size", Kind::kInt32, offsetof(MakeKvCache, page_size)},
    {"layout", Kind::kKvLayout, offsetof(MakeKvCache, layout)},
    {"token_scales", Kind::kBool, offsetof(MakeKvCache, token_scales)},
};
InternedNames kNames;
constexpr Signature kMake{"make_kv_cache", kFields, 0, &kNames};

Ref tensor_or_none(const std::shared_ptr<const HostKvCache>& cache, const TensorView& view) {
  if (view.present()) return new_cache_tensor(cache, view);
  Py_INCREF(Py_None);
  return Ref(Py_None);
}

}  // namespace

PyObject* py_make_kv_cache(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  MakeKvCache args;
  const auto cache = std::make_shared<HostKvCache>();
  if (!read_arguments(kMake, {values, count, names}, &tensors, &args) ||
      !check(kMake.function, run_released([&] { return make_kv_cache(args, cache.get()); }))) {
    return nullptr;
  }
  const PagedKvCache& views = cache->views;
  Ref k_pages = tensor_or_none(cache, views.k_pages);
  Ref v_pages = tensor_or_none(cache, views.v_pages);
  Ref k_scale = tensor_or_none(cache, views.k_token_scale);
  Ref v_scale = tensor_or_none(cache, views.v_token_scale);
  if (!k_pages || !v_pages || !k_scale || !v_scale) return nullptr;
  return PyTuple_Pack(4, k_pages.get(), v_pages.get(), k_scale.get(), v_scale.get());
}

Ref describe_make_cache_call() {
  const MakeKvCache args;
  Ref options = describe(kFields, &args);
  return options ? Ref(Py_BuildValue("{s:O}", kMake.function, options.get())) : Ref();
}

}  // namespace pagoda::python
