#include "cache_ops.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "pagoda/kv_cache.h"
#include "timing.h"

namespace pagoda::bench {
namespace {

// Of Llama 3 8B and many others.
constexpr int64_t kQHeads = 32;
constexpr int64_t kKvHeads = 8;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kPageSize = 16;
constexpr int64_t kMaxPosition = 1 << 15;

// All sets together exceed the L2 by far.
constexpr double kRotatedBytes = 4e8;
constexpr int kMaxSets = 256;

// Sets of arguments by turns, each made anew. `bytes_of_set`: what a call with one must move.
template <class Make, class Bytes, class Call>
CacheOp rotating(const Make& make, const Bytes& bytes_of_set, const Call& call) {
  std::vector<decltype(make())> sets;
  sets.push_back(make());
  const double bytes = bytes_of_set(sets[0]);
  const int count = std::clamp(static_cast<int>(kRotatedBytes / bytes), 2, kMaxSets);
  while (static_cast<int>(sets.size()) < count) sets.push_back(make());
  return {bytes, count, [sets, call](int set, cudaStream_t stream) {
            require(call(sets[static_cast<size_t>(set)], {.stream = stream}));
          }};
}

std::vector<int64_t> shuffled(int64_t count, DeviceMemory* memory) {
  std::vector<int64_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), memory->random());
  return ids;
}

double bytes_of(const TensorView& view) {
  return static_cast<double>(view.num_elements()) * static_cast<double>(size_of(view.dtype));
}

struct WriteSpec {
  int64_t num_tokens;
  DType pages = DType::kBFloat16;
  bool has_token_scales = false;
  bool has_rope = false;
};

// Neighbours of a prompt go to neighbouring slots of shuffled pages.
TensorView draw_slots(int64_t num_tokens, int64_t num_pages, DeviceMemory* memory) {
  const std::vector<int64_t> pages = shuffled(num_pages, memory);
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < num_tokens; ++i) {
    slots.push_back(pages[static_cast<size_t>(i / kPageSize)] * kPageSize + i % kPageSize);
  }
  return memory->upload(slots, DType::kInt64, {num_tokens});
}

CacheOp make_write(const WriteSpec& spec, DeviceMemory* memory) {
  const int64_t tokens = spec.num_tokens;
  const int64_t num_pages = (tokens + kPageSize - 1) / kPageSize;
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < tokens; ++i) positions.push_back(i);
  const TensorView cos_sin = memory->random_tensor(DType::kFloat32, {kMaxPosition, kHeadDim});
  const TensorView scale = memory->upload(std::vector<float>{0.5f}, DType::kFloat32, {1});
  const auto make = [&] {
    WriteKvCache args;
    args.k = memory->random_tensor(DType::kBFloat16, {tokens, kKvHeads, kHeadDim});
    args.v = memory->random_tensor(DType::kBFloat16, {tokens, kKvHeads, kHeadDim});
    args.k_pages = memory->random_tensor(spec.pages, {num_pages, kPageSize, kKvHeads, kHeadDim});
    args.v_pages = memory->random_tensor(spec.pages, {num_pages, kPageSize, kKvHeads, kHeadDim});
    args.slot_mapping = draw_slots(tokens, num_pages, memory);
    if (spec.has_token_scales) {
      args.k_token_scale = memory->random_tensor(DType::kFloat32, {num_pages, kPageSize, kKvHeads});
      args.v_token_scale = memory->random_tensor(DType::kFloat32, {num_pages, kPageSize, kKvHeads});
    } else if (spec.pages != DType::kBFloat16) {
      args.k_scale = args.v_scale = scale;
    }
    if (spec.has_rope) {
      args.rope.cos_sin = cos_sin;
      args.rope.positions = memory->upload(positions, DType::kInt64, {tokens});
      args.rope.q = memory->random_tensor(DType::kBFloat16, {tokens, kQHeads, kHeadDim});
    }
    return args;
  };
  const auto bytes_of_set = [&](const WriteKvCache& args) {
    double bytes = bytes_of(args.slot_mapping);
    for (const TensorView* view :
         {&args.k, &args.v, &args.k_token_scale, &args.v_token_scale, &args.rope.positions}) {
      if (view->present()) bytes += bytes_of(*view);
    }
    const auto rows = static_cast<double>(2 * tokens * kKvHeads * kHeadDim);
    bytes += rows * static_cast<double>(size_of(spec.pages));
    if (spec.has_rope) {
      bytes += 2 * bytes_of(args.rope.q) +
               static_cast<double>(tokens) * kHeadDim * sizeof(float);  // cosines and sines, once
    }
    return bytes;
  };
  return rotating(make, bytes_of_set, write_kv_cache);
}

CacheOp make_merge(int64_t tokens, int32_t num_states, DeviceMemory* memory) {
  const auto make = [&] {
    std::vector<AttentionState> states;
    for (int32_t i = 0; i <= num_states; ++i) {  // the last is the merged one
      states.push_back({memory->random_tensor(DType::kBFloat16, {tokens, kQHeads, kHeadDim}),
                        memory->random_tensor(DType::kFloat32, {kQHeads, tokens})});
    }
    return states;
  };
  using States = std::vector<AttentionState>;
  const auto bytes_of_set = [&](const States& states) {
    return (num_states + 1) * (bytes_of(states[0].out) + bytes_of(states[0].lse));
  };
  const auto merge = [num_states](const States& states, const Execution& execution) {
    return merge_states(states.data(), num_states, states.back(), LseLayout::kHeadsTokens,
                        execution);
  };
  return rotating(make, bytes_of_set, merge);
}

CacheOp make_gather(int32_t num_seqs, int32_t seq_tokens, DType pages, DeviceMemory* memory) {
  const int64_t tokens = int64_t{num_seqs} * seq_tokens;
  const int64_t seq_pages = (seq_tokens + kPageSize - 1) / kPageSize;
  const auto make = [&] {
    std::vector<int32_t> starts;
    for (int32_t i = 0; i <= num_seqs; ++i) starts.push_back(i * seq_tokens);
    const std::vector<int64_t> ids = shuffled(num_seqs * seq_pages, memory);
    GatherKvCache args;
    for (TensorView* view : {&args.kv.k_pages, &args.kv.v_pages}) {
      *view = memory->random_tensor(pages, {num_seqs * seq_pages, kPageSize, kKvHeads, kHeadDim});
    }
    args.kv.block_table = memory->upload(std::vector<int32_t>(ids.begin(), ids.end()),
                                         DType::kInt32, {num_seqs, seq_pages});
    args.cu_seqlens_k = memory->upload(starts, DType::kInt32, {num_seqs + 1});
    for (TensorView* view : {&args.k_out, &args.v_out}) {
      *view = memory->random_tensor(DType::kBFloat16, {tokens, kKvHeads, kHeadDim});
    }
    return args;
  };
  const auto bytes_of_set = [](const GatherKvCache& args) {
    return 2 * (bytes_of(args.kv.k_pages) + bytes_of(args.k_out));
  };
  return rotating(make, bytes_of_set, gather_kv_cache);
}

// Every page once, to somewhere else.
std::vector<int64_t> draw_page_pairs(int64_t num_pages, DeviceMemory* memory) {
  std::vector<int64_t> pairs;
  const std::vector<int64_t> from = shuffled(num_pages, memory);
  for (int64_t i = 0; i < num_pages; ++i) {
    pairs.insert(pairs.end(), {from[static_cast<size_t>(i)], i});
  }
  return pairs;
}

CacheOp make_copy(int64_t num_pages, DeviceMemory* memory) {
  const auto make = [&] {
    const std::vector<int64_t> pairs = draw_page_pairs(num_pages, memory);
    CopyPages args;
    for (TensorView* view : {&args.source, &args.destination}) {
      *view = memory->random_tensor(DType::kBFloat16, {num_pages, kPageSize, kKvHeads, kHeadDim});
    }
    args.page_pairs = memory->upload(pairs, DType::kInt64, {num_pages, 2});
    return args;
  };
  const auto bytes_of_set = [](const CopyPages& args) { return 2 * bytes_of(args.source); };
  return rotating(make, bytes_of_set, copy_pages);
}

CacheOp make_swap(int64_t num_pages, bool to_host, DeviceMemory* memory) {
  CopyPages args;
  args.source = args.destination =
      memory->random_tensor(DType::kBFloat16, {num_pages, kPageSize, kKvHeads, kHeadDim});
  const double bytes = bytes_of(args.source);
  TensorView& host = to_host ? args.destination : args.source;
  host.data = memory->allocate_pinned(static_cast<size_t>(bytes));
  host.device = {};
  const std::vector<int64_t> pairs = draw_page_pairs(num_pages, memory);
  return {bytes, 1,
          [args, pairs](int, cudaStream_t stream) {
            CopyPages call = args;
            call.page_pairs = TensorView::contiguous(pairs.data(), DType::kInt64,
                                                     {static_cast<int64_t>(pairs.size()) / 2, 2});
            require(swap_pages(call, {.stream = stream}));
          },
          to_host ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice};
}

}  // namespace

std::vector<NamedCacheOp> cache_ops() {
  std::vector<NamedCacheOp> ops;
  const auto add = [&](const std::string& name, auto make, auto... spec) {
    ops.push_back({name, [=](DeviceMemory* memory) { return make(spec..., memory); }});
  };
  constexpr DType kBf16 = DType::kBFloat16;
  constexpr DType kE4M3 = DType::kFloat8E4M3;
  for (const auto& [size, tokens] : {std::pair{"_64", 64}, {"_1k", 1024}, {"_16k", 16384}}) {
    const auto named = [suffix = std::string(size)](const char* name) { return name + suffix; };
    add(named("write_kv_cache"), make_write, WriteSpec{tokens});
    add(named("write_kv_cache_rope"), make_write, WriteSpec{tokens, kBf16, false, true});
    add(named("write_kv_cache_fp8"), make_write, WriteSpec{tokens, kE4M3});
    add(named("write_kv_cache_int8"), make_write,
        WriteSpec{tokens, DType::kInt8, /*has_token_scales=*/true});
    add(named("merge_2_states"), make_merge, tokens, 2);
  }
  add("merge_8_states_64", make_merge, 64, 8);
  add("merge_8_states_2k", make_merge, 2048, 8);
  add("gather_kv_cache_8x2k", make_gather, 8, 2048, kBf16);
  add("gather_kv_cache_fp8_8x2k", make_gather, 8, 2048, kE4M3);
  add("copy_pages_8", make_copy, 8);
  add("copy_pages_2k", make_copy, 2048);
  add("swap_pages_to_host_1k", make_swap, 1024, true);
  add("swap_pages_to_device_1k", make_swap, 1024, false);
  return ops;
}

}  // namespace pagoda::bench
