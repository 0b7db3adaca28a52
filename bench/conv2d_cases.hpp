// What the convolution benchmarks share: the shapes of facial expression networks, operands, and their speed.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "mien/core/random.hpp"
#include "mien/core/tensor.hpp"
#include "mien/kernels/conv2d.hpp"
#include "turns.hpp"

namespace mien::bench {

using kernels::ConvGeometry;
using kernels::ConvPass;

struct Case {
  index_t size, channels, filters, padding;
  std::string name() const {
    return std::to_string(size) + "x" + std::to_string(size) + "/" + std::to_string(channels) + "->" +
           std::to_string(filters) + (padding > 0 ? "" : "/unpadded");
  }
  ConvGeometry geometry(index_t batch) const {
    ConvGeometry g;
    g.batch = batch;
    g.height = g.width = size;
    g.channels = channels;
    g.filters = filters;
    g.kernel_h = g.kernel_w = 3;
    g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = padding;
    return g;
  }
};

/// 3x3 convolutions of the networks in examples/fer: input size, channels, filters, padding.
inline const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {48, 1, 32, 1},    {44, 1, 32, 1},   {44, 32, 32, 1},  {22, 32, 64, 1},  {22, 64, 64, 1},   {11, 64, 128, 1},
      {11, 128, 128, 1}, {5, 128, 256, 1}, {5, 256, 256, 1}, {44, 64, 64, 1},  {22, 128, 128, 1}, {11, 256, 256, 1},
      {5, 512, 512, 1},  {48, 1, 32, 0},   {46, 32, 64, 0},  {22, 64, 128, 0}, {10, 128, 128, 0}};
  return all;
}

inline std::string name(ConvPass pass) {
  return pass == ConvPass::forward ? "forward" : pass == ConvPass::backward_data ? "backward_data" : "backward_weights";
}

/// Values around zero, the same every time.
template <class T>
Tensor<T> random_tensor(index_t size, std::uint64_t seed) {
  Tensor<T> t(Shape{size});
  std::uint64_t state = seed;
  for (T& v : t) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    v = T(static_cast<parameter_t<T>>(static_cast<double>(state >> 40) / 8388608.0 - 1));
  }
  return t;
}

/// One convolution of mien with its operands.
template <class T>
struct MienConvolution {
  using P = parameter_t<T>;
  MienConvolution(const ConvGeometry& geometry, const Threads& pool)
      : g(geometry),
        threads(pool),
        x(random_tensor<T>(g.input_size(), 1)),
        y(random_tensor<T>(g.output_size(), 2)),
        w(random_tensor<P>(g.weight_size(), 3)),
        bias(random_tensor<P>(g.filters, 4)),
        dx(Shape{g.input_size()}),
        dw(Shape{g.weight_size()}),
        dbias(Shape{g.filters}) {
    std::size_t bytes = 0;
    for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights})
      bytes = std::max(bytes, kernels::conv2d_scratch_bytes<T>(pass, g, threads.count()));
    scratch = Tensor<float>(Shape{static_cast<index_t>(bytes / 4 + 16)});
  }
  void run(ConvPass pass) {
    auto* memory = reinterpret_cast<std::byte*>(scratch.data());
    switch (pass) {
      case ConvPass::forward:
        return kernels::conv2d_forward<T>(g, x.data(), w.data(), bias.data(), y.data(), memory, threads);
      case ConvPass::backward_data:
        return kernels::conv2d_backward_data<T>(g, y.data(), w.data(), dx.data(), memory, threads);
      default:
        return kernels::conv2d_backward_weights<T>(g, x.data(), y.data(), dw.data(), dbias.data(), memory, threads);
    }
  }
  ConvGeometry g;
  const Threads& threads;
  Tensor<T> x, y;
  Tensor<P> w, bias;
  Tensor<T> dx;
  Tensor<P> dw, dbias;
  Tensor<float> scratch;
};

/// What one turn does, in billions of some unit.
struct Work {
  const char* unit;
  double amount;
};

inline Work gflop(const ConvGeometry& g) { return {"GFLOP/s", 2e-9 * g.multiply_adds()}; }

/// take_turns() of turns.hpp, reporting the median speed of each too.
template <class Mien, class Peer>
void take_turns(benchmark::State& state, const Work& work, bool wall, Mien&& mien, Peer&& peer) {
  const Medians times = take_turns(state, wall, mien, peer);
  state.counters[work.unit] = work.amount / times.ours;
  state.counters[std::string("peer_") + work.unit] = work.amount / times.theirs;
}

}  // namespace mien::bench
