// Which version of the inner loops runs: chosen once per detector.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "cascade/model.hpp"
#include "cascade/program.hpp"
#include "cascade/scan.hpp"
#include "cascade/strip.hpp"
#include "cascade/vector_compiler.hpp"
#include "cascade/vector_context.hpp"
#include "cascade/vector_program.hpp"
#include "mien/core/config.hpp"
#include "mien/core/cpu.hpp"
#include "mien/core/tensor.hpp"

#if MIEN_HAS_X86_KERNELS
#include "cascade/vector_avx2.hpp"
#include "cascade/vector_avx512.hpp"
#endif

namespace mien::cascade::detail {

/// Working memory of one thread.
struct Workspace {
  std::atomic<bool> taken{false};
  StripBuffer strip;
  Tensor<std::uint32_t> tile;
  Tensor<std::uint8_t> masks;
  std::vector<Survivor> survivors;
  std::vector<Hit> hits;
};

/// A cascade's programs for both steps, and the loops of the best instruction set that is allowed.
class Kernels {
 public:
  Kernels(const Cascade& cascade, Isa isa) : cascade_(&cascade) {
#if MIEN_HAS_X86_KERNELS
    const Isa best = std::min(isa, cpu_isa());
    if (best >= Isa::avx512) {
      lanes_ = avx512::One::lanes;
      scan_ = &avx512::scan;
      rows_ = avx512::row_kernels();
    } else if (best == Isa::avx2) {
      lanes_ = avx2::One::lanes;
      scan_ = &avx2::scan;
      rows_ = avx2::row_kernels();
    }
    if (!vector_code_applies(cascade)) scan_ = nullptr;
    if (scan_ == nullptr) return;
    const auto [width, height] = cascade.window();
    const Layout layout{width + 1, 0, (width + 1) * (height + 1)};
    VectorCompiler(cascade, layout, lanes_, packed_).run();
#else
    static_cast<void>(isa);
#endif
  }

  /// Lays the cascade out for strips of `shape`; nothing to do if it already is.
  void compile(const StripShape& shape) {
    for (int step = 1; step <= 2; ++step) {
      const Layout layout = shape.layout(step);
      if (programs_[step - 1].layout == layout) continue;
      detail::compile(*cascade_, layout, programs_[step - 1]);
      if (scan_ != nullptr) VectorCompiler(*cascade_, layout, 1, vector_programs_[step - 1]).run();
    }
  }

  /// Prepares `work` for strips of `shape` with at most `windows` windows.
  void reserve(const StripShape& shape, std::size_t windows, Workspace& work) const {
    work.strip.reserve(shape);
    if (scan_ == nullptr) return;
    const index_t values = static_cast<index_t>(cascade_->window().width + 1) * (cascade_->window().height + 1);
    const index_t tile = values * lanes_ * planes();
    if (packed_.segment_ends.size() > 1 && work.tile.size() < tile) work.tile = Tensor<std::uint32_t>(Shape{tile});
    constexpr index_t mask_bytes = 64;
    const index_t masks = mask_bytes * packed_.masks;
    if (work.masks.size() < masks) work.masks = Tensor<std::uint8_t>(Shape{masks});
    work.survivors.reserve(windows);
  }

  const RowKernels& rows() const { return rows_; }

  void scan(const Strip& strip, Workspace& work, std::vector<Hit>& hits) const {
    const auto at = static_cast<std::size_t>(strip.step - 1);
    if (scan_ == nullptr) {
      scan_portable(*cascade_, programs_[at], strip, hits);
      return;
    }
    VectorContext context;
    context.cascade = cascade_;
    context.plain = &programs_[at];
    context.program = &vector_programs_[at];
    context.packed = &packed_;
    context.strip = &strip;
    context.layout = programs_[at].layout;
    context.window = cascade_->window();
    context.planes = planes();
    context.tile = work.tile.data();
    context.masks = work.masks.data();
    context.survivors = &work.survivors;
    scan_(context, hits);
  }

 private:
  int planes() const { return cascade_->has_tilted() ? 2 : 1; }

  const Cascade* cascade_;
  RowKernels rows_;
  int lanes_ = 1;
  void (*scan_)(const VectorContext&, std::vector<Hit>&) = nullptr;
  Program programs_[2];
  VectorProgram vector_programs_[2];
  VectorProgram packed_;
};

}  // namespace mien::cascade::detail
