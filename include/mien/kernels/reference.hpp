// The plain loops that define each operation: the truth that fast kernels are tested against, and the fallback.
#pragma once

#include <type_traits>

#include "mien/core/bfloat16.hpp"
#include "mien/kernels/geometry.hpp"

namespace mien::kernels::reference {

// In all of these, T is the scalar of activations (float, double or bfloat16) and P = parameter_t<T> that of
// parameters and sums. A bfloat16 kernel multiplies bfloat16 values: parameters are rounded to T first.

/// y[n,i,j,k] = bias[k] + sum over r,s,c of x[n, i*stride+r*dilation-pad, j*stride+s*dilation-pad, c] * w[k,c,r,s].
/// y is assigned. `bias` may be null.
template <class T, class P = parameter_t<T>>
void conv2d_forward(const ConvGeometry& g, const T* x, const P* w, const P* bias, T* y) {
  const index_t oh = g.out_height(), ow = g.out_width(), cg = g.channels / g.groups, kg = g.filters / g.groups;
  for (index_t n = 0; n < g.batch; ++n)
    for (index_t i = 0; i < oh; ++i)
      for (index_t j = 0; j < ow; ++j)
        for (index_t k = 0; k < g.filters; ++k) {
          const index_t first = k / kg * cg;  // of its group's channels
          P sum = bias ? bias[k] : P{0};
          for (index_t r = 0; r < g.kernel_h; ++r)
            for (index_t s = 0; s < g.kernel_w; ++s) {
              const index_t h = i * g.stride_h + r * g.dilation_h - g.pad_top;
              const index_t v = j * g.stride_w + s * g.dilation_w - g.pad_left;
              if (h < 0 || h >= g.height || v < 0 || v >= g.width) continue;
              const T* from = x + ((n * g.height + h) * g.width + v) * g.channels + first;
              for (index_t c = 0; c < cg; ++c)
                sum += P(from[c]) * P(T(w[((k * cg + c) * g.kernel_h + r) * g.kernel_w + s]));
            }
          y[((n * oh + i) * ow + j) * g.filters + k] = T(sum);
        }
}

/// dx[n,h,v,c] = sum over r,s,k of dy[n,i,j,k] * w[k,c,r,s] where (i,j) reads (h,v) through (r,s). dx is assigned.
template <class T, class P = parameter_t<T>>
void conv2d_backward_data(const ConvGeometry& g, const T* dy, const P* w, T* dx) {
  const index_t oh = g.out_height(), ow = g.out_width(), cg = g.channels / g.groups, kg = g.filters / g.groups;
  for (index_t n = 0; n < g.batch; ++n)
    for (index_t h = 0; h < g.height; ++h)
      for (index_t v = 0; v < g.width; ++v)
        for (index_t c = 0; c < g.channels; ++c) {
          P sum{0};
          const index_t group = c / cg;
          for (index_t r = 0; r < g.kernel_h; ++r) {
            const index_t top = h + g.pad_top - r * g.dilation_h, i = top / g.stride_h;
            if (top < 0 || i >= oh || i * g.stride_h != top) continue;
            for (index_t s = 0; s < g.kernel_w; ++s) {
              const index_t left = v + g.pad_left - s * g.dilation_w, j = left / g.stride_w;
              if (left < 0 || j >= ow || j * g.stride_w != left) continue;
              const T* from = dy + ((n * oh + i) * ow + j) * g.filters;
              for (index_t k = group * kg; k < (group + 1) * kg; ++k)
                sum += P(from[k]) * P(T(w[((k * cg + c - group * cg) * g.kernel_h + r) * g.kernel_w + s]));
            }
          }
          dx[((n * g.height + h) * g.width + v) * g.channels + c] = T(sum);
        }
}

/// dw[k,c,r,s] = sum over n,i,j of dy[n,i,j,k] * x[n, i*stride+r*dilation-pad, j*stride+s*dilation-pad, c];
/// dbias[k] = sum over n,i,j of dy[n,i,j,k]. Both are assigned; either may be null.
template <class T, class P = parameter_t<T>>
void conv2d_backward_weights(const ConvGeometry& g, const T* x, const T* dy, P* dw, P* dbias) {
  const index_t oh = g.out_height(), ow = g.out_width(), cg = g.channels / g.groups, kg = g.filters / g.groups;
  for (index_t i = 0; dw && i < g.weight_size(); ++i) dw[i] = P{0};
  for (index_t r = 0; dw && r < g.kernel_h; ++r)
    for (index_t s = 0; s < g.kernel_w; ++s)
      for (index_t n = 0; n < g.batch; ++n)
        for (index_t i = 0; i < oh; ++i)
          for (index_t j = 0; j < ow; ++j) {
            const index_t h = i * g.stride_h + r * g.dilation_h - g.pad_top;
            const index_t v = j * g.stride_w + s * g.dilation_w - g.pad_left;
            if (h < 0 || h >= g.height || v < 0 || v >= g.width) continue;
            const T* from = x + ((n * g.height + h) * g.width + v) * g.channels;
            for (index_t first = 0; first < g.filters; first += kg, from += cg)  // of a group
              for (index_t k = first; k < first + kg; ++k) {
                const P dyk = P(dy[((n * oh + i) * ow + j) * g.filters + k]);
                for (index_t c = 0; c < cg; ++c)
                  dw[((k * cg + c) * g.kernel_h + r) * g.kernel_w + s] += P(from[c]) * dyk;
              }
          }
  for (index_t k = 0; dbias && k < g.filters; ++k) {
    P sum{0};
    for (index_t p = 0; p < g.batch * oh * ow; ++p) sum += P(dy[p * g.filters + k]);
    dbias[k] = sum;
  }
}

}  // namespace mien::kernels::reference
