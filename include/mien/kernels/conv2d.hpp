// Convolution for callers: one function per pass, which picks the fastest kernel that this machine has.
#pragma once

#include <cstddef>
#include <optional>

#include "mien/core/cpu.hpp"
#include "mien/core/threads.hpp"
#include "mien/kernels/amx/correlate.hpp"
#include "mien/kernels/amx/gray_gradients.hpp"
#include "mien/kernels/amx/weight_gradients.hpp"
#include "mien/kernels/avx2/float_blocks.hpp"
#include "mien/kernels/avx512/float_blocks.hpp"
#include "mien/kernels/correlate.hpp"
#include "mien/kernels/dense_gradients.hpp"
#include "mien/kernels/epilogue.hpp"
#include "mien/kernels/portable/blocks.hpp"
#include "mien/kernels/reference.hpp"
#include "mien/kernels/weight_gradients.hpp"
#include "mien/kernels/winograd_gradients.hpp"

namespace mien::kernels {

/// Which of the three passes.
enum class ConvPass { forward, backward_data, backward_weights };

namespace detail {

/// The inner loops over parameter_t<T> = P for an instruction set.
template <class P>
const BlockKernels<P>& pick_blocks([[maybe_unused]] Isa isa) {
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<P, float>) {
    if (isa >= Isa::avx512_bf16) return avx512::float_blocks<true>();
    if (isa == Isa::avx512) return avx512::float_blocks<false>();
    if (isa >= Isa::avx2) return avx2::float_blocks();
  }
#endif
  return portable::blocks<P>();
}

#if MIEN_HAS_X86_KERNELS
using amx::Products;

/// Whether dot products of bfloat16, which leave padding out, are faster than Winograd's filtering in float, or what
/// there is for gray images and for single rows. Where they are quick, they do some 2.5 times the products in the same
/// time (Zen 5, bench/onednn_bench).
MIEN_COLD inline bool dots_serve(Correlation c) {
  if (!mien::detail::has_quick_dots()) return false;
  flatten_pixels(c);
  if (c.groups > 1 || c.depth < 16) return false;
  if (c.taps() == 1 && c.batch * c.out_height * c.out_width <= 2) return false;  // weights are read once, as they stand
  const auto& blocks = avx512::float_blocks<true>();
  if (SinglePlan<float>(c, blocks).fits) return false;
  const WinogradPlan winograd(c, blocks);
  if (!winograd.fits) return true;
  const index_t products = winograd.elements * winograd.tile_rows * winograd.tile_columns;
  return 2 * ImagesPlan<float, float>::visible(c) < 5 * products;
}

/// What multiplies in bfloat16 on `isa`; nothing where float is as fast.
inline std::optional<Products> correlation_products(const Correlation& c, Isa isa) {
  if (isa >= Isa::amx) return Products::tiles;
  if (isa == Isa::avx512_bf16 && dots_serve(c)) return Products::dots;
  return {};
}
inline std::optional<Products> gradient_products(const ConvGeometry& g, Isa isa) {
  if (isa < Isa::avx512_bf16 || !amx::has_tile_gradients(g)) return {};
  if (isa >= Isa::amx) return Products::tiles;
  return dots_serve(forward_correlation(g)) ? Products::dots : std::optional<Products>();
}
inline bool takes_gray_dots(const ConvGeometry& g, Isa isa) {
  return isa == Isa::avx512_bf16 && amx::has_gray_gradients(g);
}
#endif

}  // namespace detail

/// Bytes of scratch (64-byte aligned) that a pass needs for T on instruction set `isa`. Independent of the thread
/// count except through buffers of which there are `threads`, or as many as there are pieces of work if that is less.
template <class T>
MIEN_COLD std::size_t conv2d_scratch_bytes(ConvPass pass, const ConvGeometry& g, int threads, Isa isa = cpu_isa()) {
  using P = parameter_t<T>;
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (pass == ConvPass::backward_weights) {
      if (detail::takes_gray_dots(g, isa)) return detail::amx::GrayGradientScratch(g, threads, nullptr).bytes;
      if (detail::gradient_products(g, isa)) return detail::amx::weight_gradients_scratch_bytes(g, threads);
    } else {
      const auto c = pass == ConvPass::forward ? detail::forward_correlation(g) : detail::backward_correlation(g);
      if (const auto products = detail::correlation_products(c, isa))
        return detail::amx::correlation_scratch_bytes(c, *products, threads);
    }
  }
#endif
  const auto& blocks = detail::pick_blocks<P>(isa);
  switch (pass) {
    case ConvPass::forward:
      return detail::correlation_scratch_bytes<T>(detail::forward_correlation(g), blocks, threads);
    case ConvPass::backward_data:
      return detail::correlation_scratch_bytes<T>(detail::backward_correlation(g), blocks, threads);
    default: {
      if (detail::has_dense_gradients(g)) return detail::DenseGradientScratch<T, P>(g, blocks, threads, nullptr).bytes;
      const std::size_t bytes = detail::weight_gradients_scratch_bytes<T>(g, blocks, threads);
      if constexpr (std::is_same_v<P, float>) {
        const detail::WinogradGradientPlan winograd(g, blocks);
        if (winograd.fits) {
          const std::size_t other = detail::WinogradGradientScratch<T>(g, winograd, threads, nullptr).bytes;
          return other > bytes ? other : bytes;
        }
      }
      return bytes;
    }
  }
}

using detail::PackedWeights;

/// Bytes (64-byte aligned) of PackedWeights that spare the forward pass from packing the weights in every call; 0 where
/// it would not help.
template <class T>
MIEN_COLD std::size_t conv2d_packed_bytes(const ConvGeometry& g, Isa isa = cpu_isa()) {
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<T, bfloat16>) {
    const auto c = detail::forward_correlation(g);
    if (const auto products = detail::correlation_products(c, isa))
      return detail::amx::correlation_packed_bytes(c, *products);
  }
#endif
  return detail::correlation_packed_bytes<T>(detail::forward_correlation(g), detail::pick_blocks<parameter_t<T>>(isa));
}

/// Whether conv2d_infer() has a way for an epilogue without pooling; with `scales`, for one that scales, which in
/// bfloat16 reads rounded results.
template <class T>
constexpr bool conv2d_infers(bool scales) {
  return std::is_same_v<T, parameter_t<T>> || !scales;
}

/// conv2d_forward and the epilogue, bit for bit what the layers give one after the other; y is what comes out at the
/// end. False, with y in any state, where it has no way for that, or where values that are not finite leave it to the
/// layers to tell which results are. With an empty epilogue it is false only where the plain loops are to tell.
template <class T, class P = parameter_t<T>>
__attribute__((noinline)) bool conv2d_infer(const ConvGeometry& g, const T* x, const P* w, const P* bias,
                                            const Epilogue<P>& epilogue, T* y, std::byte* scratch,
                                            const Threads& threads, Isa isa = cpu_isa(), PackedWeights packed = {}) {
  if (!epilogue.is_empty() && !conv2d_infers<T>(epilogue.scale != nullptr)) return false;
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<T, bfloat16>) {
    const auto c = detail::forward_correlation(g);
    if (const auto products = detail::correlation_products(c, isa))
      return detail::amx::run_correlation(c, *products, x, w, bias, y, scratch, threads, packed, epilogue);
  }
#endif
  return detail::run_correlation<T, P>(detail::forward_correlation(g), detail::pick_blocks<P>(isa), x, w, bias, y,
                                       scratch, threads, packed, epilogue);
}

/// Forward pass: see reference::conv2d_forward for the formula; y is assigned, bias may be null. `packed` belongs to
/// these weights, this geometry and this instruction set.
template <class T, class P = parameter_t<T>>
void conv2d_forward(const ConvGeometry& g, const T* x, const P* w, const P* bias, T* y, std::byte* scratch,
                    const Threads& threads, Isa isa = cpu_isa(), PackedWeights packed = {}) {
  if (!conv2d_infer<T, P>(g, x, w, bias, {}, y, scratch, threads, isa, packed))
    reference::conv2d_forward(g, x, w, bias, y);
}

/// Gradient with respect to x: dx is assigned.
template <class T, class P = parameter_t<T>>
void conv2d_backward_data(const ConvGeometry& g, const T* dy, const P* w, T* dx, std::byte* scratch,
                          const Threads& threads, Isa isa = cpu_isa()) {
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<T, bfloat16>) {
    const auto c = detail::backward_correlation(g);
    if (const auto products = detail::correlation_products(c, isa)) {
      if (!detail::amx::run_correlation(c, *products, dy, w, nullptr, dx, scratch, threads))
        reference::conv2d_backward_data(g, dy, w, dx);
      return;
    }
  }
#endif
  if (!detail::run_correlation<T, P, P>(detail::backward_correlation(g), detail::pick_blocks<P>(isa), dy, w, nullptr,
                                        dx, scratch, threads)) {
    reference::conv2d_backward_data(g, dy, w, dx);
  }
}

/// Gradient with respect to weights and bias: both are assigned, either may be null.
template <class T, class P = parameter_t<T>>
void conv2d_backward_weights(const ConvGeometry& g, const T* x, const T* dy, P* dw, P* dbias, std::byte* scratch,
                             const Threads& threads, Isa isa = cpu_isa()) {
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (detail::takes_gray_dots(g, isa)) return detail::amx::run_gray_gradients(g, x, dy, dw, dbias, scratch, threads);
    if (const auto products = detail::gradient_products(g, isa))
      return detail::amx::run_weight_gradients(g, *products, x, dy, dw, dbias, scratch, threads);
  }
#endif
  const auto& blocks = detail::pick_blocks<P>(isa);
  if (detail::has_dense_gradients(g)) return detail::run_dense_gradients(g, blocks, x, dy, dw, dbias, scratch, threads);
  if constexpr (std::is_same_v<P, float>) {
    const detail::WinogradGradientPlan winograd(g, blocks);
    if (winograd.fits && detail::run_winograd_gradients(g, winograd, blocks, x, dy, dw, dbias, scratch, threads))
      return;
  }
  detail::run_weight_gradients<T, P>(g, blocks, x, dy, dw, dbias, scratch, threads);
}

}  // namespace mien::kernels
