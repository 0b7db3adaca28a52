// What Conv2d and Dense share: the three passes of a convolution, between a layer's arguments and the kernels.
// IWYU pragma: private
#pragma once

#include "mien/kernels/conv2d.hpp"
#include "mien/nn/layer.hpp"

namespace mien::detail {

/// Largest kernel, stride, dilation and padding: sums and products of them then fit an index_t.
inline constexpr index_t max_extent = 1 << 20;

/// Output extent of a window over one axis, rounded down; 0 or less where the window does not fit.
inline index_t window_extent(index_t in, index_t before, index_t after, index_t kernel, index_t stride,
                             index_t dilation = 1) {
  const index_t room = in + before + after - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

template <class T>
MIEN_COLD Memory convolution_memory(const kernels::ConvGeometry& g, int threads, bool keep) {
  using kernels::ConvPass;
  std::size_t bytes = kernels::conv2d_scratch_bytes<T>(ConvPass::forward, g, threads);
  if (keep) {
    bytes = std::max(bytes, kernels::conv2d_scratch_bytes<T>(ConvPass::backward_data, g, threads));
    bytes = std::max(bytes, kernels::conv2d_scratch_bytes<T>(ConvPass::backward_weights, g, threads));
  }
  return {0, bytes, keep ? 0 : kernels::conv2d_packed_bytes<T>(g)};
}

/// Parameters are weight and, if there are two, bias.
template <class T>
const parameter_t<T>* bias_of(const Pass<T>& pass) {
  return pass.parameters.size() > 1 ? pass.parameters[1].data() : nullptr;
}

template <class T>
kernels::PackedWeights packed_of(const Pass<T>& pass) {
  if (pass.packed.empty()) return {};
  return {pass.packed.data(), pass.packed_ready};
}

template <class T>
MIEN_COLD void convolution_forward(const kernels::ConvGeometry& g, TensorView<const T> x, TensorView<T> y,
                                   const Pass<T>& pass) {
  kernels::conv2d_forward(g, x.data(), pass.parameters[0].data(), bias_of(pass), y.data(), pass.scratch.data(),
                          pass.threads(), cpu_isa(), packed_of(pass));
}

/// As kernels::conv2d_infer.
template <class T>
MIEN_COLD bool convolution_infer(const kernels::ConvGeometry& g, TensorView<const T> x, TensorView<T> y,
                                 const Pass<T>& pass, const kernels::Epilogue<parameter_t<T>>& epilogue) {
  return kernels::conv2d_infer(g, x.data(), pass.parameters[0].data(), bias_of(pass), epilogue, y.data(),
                               pass.scratch.data(), pass.threads(), cpu_isa(), packed_of(pass));
}

template <class T>
MIEN_COLD void convolution_backward(const kernels::ConvGeometry& g, TensorView<const T> x, TensorView<const T> dy,
                                    TensorView<T> dx, Gradients<T> gradients, const Pass<T>& pass) {
  parameter_t<T>* dweight = gradients[0].data();
  parameter_t<T>* dbias = gradients.size() > 1 ? gradients[1].data() : nullptr;
  if (dweight || dbias) {
    kernels::conv2d_backward_weights(g, x.data(), dy.data(), dweight, dbias, pass.scratch.data(), pass.threads());
  }
  if (dx) {
    kernels::conv2d_backward_data(g, dy.data(), pass.parameters[0].data(), dx.data(), pass.scratch.data(),
                                  pass.threads());
  }
}

}  // namespace mien::detail
