// Convolution for callers: one function per pass, which picks the fastest kernel that this machine has.
#pragma once

#include <cstddef>

#include "mien/core/cpu.hpp"
#include "mien/core/threads.hpp"
#include "mien/kernels/reference.hpp"

namespace mien::kernels {

/// Which of the three passes.
enum class ConvPass { forward, backward_data, backward_weights };

/// Bytes of scratch (64-byte aligned) that a pass needs for T on instruction set `isa`. Independent of the thread
/// count except through per-thread buffers, of which there are `threads`.
template <class T>
std::size_t conv2d_scratch_bytes(ConvPass, const ConvGeometry&, int /*threads*/, Isa /*isa*/ = cpu_isa()) {
  return 0;
}

/// Forward pass: see reference::conv2d_forward for the formula; y is assigned, bias may be null.
template <class T, class P = parameter_t<T>>
void conv2d_forward(const ConvGeometry& g, const T* x, const P* w, const P* bias, T* y, std::byte* /*scratch*/,
                    const Threads& /*threads*/, Isa /*isa*/ = cpu_isa()) {
  reference::conv2d_forward(g, x, w, bias, y);
}

/// Gradient with respect to x: dx is assigned.
template <class T, class P = parameter_t<T>>
void conv2d_backward_data(const ConvGeometry& g, const T* dy, const P* w, T* dx, std::byte* /*scratch*/,
                          const Threads& /*threads*/, Isa /*isa*/ = cpu_isa()) {
  reference::conv2d_backward_data(g, dy, w, dx);
}

/// Gradient with respect to weights and bias: both are assigned, either may be null.
template <class T, class P = parameter_t<T>>
void conv2d_backward_weights(const ConvGeometry& g, const T* x, const T* dy, P* dw, P* dbias, std::byte* /*scratch*/,
                             const Threads& /*threads*/, Isa /*isa*/ = cpu_isa()) {
  reference::conv2d_backward_weights(g, x, dy, dw, dbias);
}

}  // namespace mien::kernels
