// What the comparisons with oneDNN share: a primitive and operands for it.
#pragma once

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "mien/core/bfloat16.hpp"
#include "mien/core/cpu.hpp"
#include "mien/core/tensor.hpp"

namespace mien::bench {

template <class T>
constexpr dnnl::memory::data_type onednn_type =
    std::is_same_v<T, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;

/// One operation of oneDNN. Deriving classes name its operands, which get memory in the layout that they describe.
class OnednnPeer {
 public:
  OnednnPeer() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}
  void run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }
  /// Gives an operand the values that `data` has in the layout `plain`.
  void set(int argument, const void* data, const dnnl::memory::desc& plain) {
    move(dnnl::memory(plain, engine_, const_cast<void*>(data)), arguments_.at(argument));
  }
  /// The values of a result, in the layout `plain`, which is one of floats.
  Tensor<float> get(int argument, const dnnl::memory::desc& plain) {
    Tensor<float> values(Shape{static_cast<index_t>(plain.get_size() / sizeof(float))});
    move(arguments_.at(argument), dnnl::memory(plain, engine_, values.data()));
    return values;
  }

 protected:
  /// Random values: a processor may draw less power, and so run faster, on zeros.
  void add(int argument, const dnnl::memory::desc& desc) {
    const std::size_t bytes = desc.get_size();
    Tensor<std::byte>& block = blocks_.emplace_back(Shape{static_cast<index_t>(bytes)});  // large pages for both
    dnnl::memory memory(desc, engine_, block.data());
    auto* data = reinterpret_cast<unsigned char*>(block.data());
    std::uint32_t state = 1;
    const auto fill = [&]<class V>(V) {
      for (std::size_t i = 0; i + sizeof(V) <= bytes; i += sizeof(V)) {
        state = state * 1664525U + 1013904223U;
        const V value(static_cast<float>(state >> 8) / 8388608.0F - 1.0F);
        std::copy_n(reinterpret_cast<const unsigned char*>(&value), sizeof(V), data + i);
      }
    };
    if (desc.data_type() == dnnl::memory::data_type::bf16) fill(bfloat16{});
    if (desc.data_type() == dnnl::memory::data_type::f32) fill(float{});
    arguments_.insert({argument, memory});
  }

  void move(dnnl::memory from, dnnl::memory to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::vector<Tensor<std::byte>> blocks_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

/// main() of a benchmark whose cases `add` registers, with oneDNN held to one thread: OpenMP reads its environment
/// before main() runs, so the program starts itself once more.
inline int run_beside_onednn(int argc, char** argv, void (*add)()) {
  const char* threads = std::getenv("OMP_NUM_THREADS");
  if (threads == nullptr || std::strcmp(threads, "1") != 0) {
    setenv("OMP_NUM_THREADS", "1", 1);
    execv("/proc/self/exe", argv);
  }
  benchmark::AddCustomContext("isa", std::string(to_string(cpu_isa())));
  add();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace mien::bench
