// Residual and Concat: the two ways in which chains meet. Nested freely they make ResNet, DenseNet, Xception, blends.
#pragma once

#include "mien/kernels/parallel.hpp"
#include "mien/nn/sequential.hpp"

namespace mien {

namespace detail {

/// Sets up a branch under its name ("" adds none) and returns what comes out of it.
template <class T>
Features setup_branch(Sequential<T>& branch, const std::string& name, const Features& input, Setup& setup) {
  const std::string outer = setup.layer;
  if (!name.empty()) setup.layer = outer.empty() ? name : outer + "." + name;
  const Features output = branch.setup(input, setup);
  setup.layer = outer;
  return output;
}

/// The Pass of one branch: its share of the parameters, and memory of its own.
template <class T>
Pass<T> branch_pass(const Pass<T>& outer, std::size_t first, std::size_t count, std::span<std::byte> saved,
                    std::span<std::byte> scratch) {
  Pass<T> pass = outer;
  pass.parameters = outer.parameters.subspan(first, count);
  pass.saved = saved;
  pass.packed = {};  // a combinator asks for none
  pass.scratch = scratch;
  return pass;
}

}  // namespace detail

/// y = main(x) + shortcut(x); an empty shortcut is x itself. Both give the same shape. He et al., "Deep residual
/// learning" (2015). The layers of main are named as if they stood in place of this one, those of the shortcut below
/// `shortcut_name`.
template <class T>
struct Residual {
  static constexpr std::string_view kind = "Residual";

  Sequential<T> main;
  Sequential<T> shortcut = {};
  std::string shortcut_name = "shortcut";
  std::size_t main_parameters = 0;  // set by setup

  MIEN_COLD Features setup(const Features& input, Setup& setup) {
    if (main.layer_count() == 0) setup.reject(kind, input.shape, "a main branch with at least one layer");
    const std::size_t before = setup.declarations.size();
    const Features out = detail::setup_branch(main, "", input, setup);
    main_parameters = setup.declarations.size() - before;
    const Features other = detail::setup_branch(shortcut, shortcut_name, input, setup);
    if (out.shape != other.shape) {
      setup.reject(
          kind, input.shape,
          "branches of one shape; main gives " + out.shape.to_string() + ", the shortcut " + other.shape.to_string());
    }
    return {out.shape, out.flattened == other.flattened ? out.flattened : Shape{}};
  }

  /// Saved: what both branches save, and their outputs.
  template <class U>
  Memory memory(const Shape& x, const Shape& y, int threads, bool keep) const {
    const Memory a = main.memory_of(x, threads, keep), b = shortcut.memory_of(x, threads, keep);
    const std::size_t outputs = 2 * bytes_of<T>(y.size());
    return {keep ? padded(a.saved) + padded(b.saved) + outputs : 0,
            std::max(a.scratch, b.scratch) + (keep ? bytes_of<T>(x.size()) : outputs)};
  }

  template <class U>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    Parts p(*this, x.shape(), y.shape(), pass);
    main.run_forward(x, p.main_y, p.main_pass);
    TensorView<const T> other = x;
    if (shortcut.layer_count() > 0) {
      shortcut.run_forward(x, p.shortcut_y, p.shortcut_pass);
      other = p.shortcut_y;
    }
    add(p.main_y, other, y, pass);
  }

  template <class U>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>& pass) const {
    Parts p(*this, x.shape(), y.shape(), pass);
    Arena scratch(pass.scratch);
    const TensorView<T> from_main = dx ? scratch.tensor<T>(x.shape()) : TensorView<T>{};
    p.main_pass.scratch = p.shortcut_pass.scratch = scratch.rest();
    main.run_backward(x, p.main_y, dy, from_main, gradients.first(main_parameters), p.main_pass);
    if (shortcut.layer_count() > 0) {
      shortcut.run_backward(x, p.shortcut_y, dy, dx, gradients.subspan(main_parameters), p.shortcut_pass);
      if (dx) add(from_main, dx, dx, pass);
    } else if (dx) {
      add(from_main, dy, dx, pass);
    }
  }

  void describe(Describer&) {}

  std::vector<std::pair<std::string, Sequential<T>*>> branches() { return {{"", &main}, {shortcut_name, &shortcut}}; }

 private:
  struct Parts {
    TensorView<T> main_y, shortcut_y;
    Pass<T> main_pass, shortcut_pass;
    Parts(const Residual& r, const Shape& x, const Shape& y, const Pass<T>& pass) {
      Arena saved(pass.saved), scratch(pass.scratch);
      Arena& outputs = pass.keep ? saved : scratch;
      main_y = outputs.tensor<T>(y);
      shortcut_y = outputs.tensor<T>(y);
      const int threads = pass.threads().count();
      const auto kept = [&](const Sequential<T>& s) {
        return pass.keep ? saved.take_bytes(s.memory_of(x, threads, true).saved) : std::span<std::byte>{};
      };
      const auto main_saved = kept(r.main), shortcut_saved = kept(r.shortcut);
      main_pass = detail::branch_pass(pass, 0, r.main_parameters, main_saved, scratch.rest());
      shortcut_pass = detail::branch_pass(pass, r.main_parameters, pass.parameters.size() - r.main_parameters,
                                          shortcut_saved, scratch.rest());
    }
  };

  static void add(TensorView<const T> a, TensorView<const T> b, TensorView<T> sum, const Pass<T>& pass) {
    using P = parameter_t<T>;
    kernels::for_each_index(pass.threads(), a.size(),
                            [p = a.data(), q = b.data(), to = sum.data()](index_t i)
                                MIEN_INLINE { to[i] = T(P(p[i]) + P(q[i])); });
  }
};

/// The outputs of several branches side by side in the last axis (channels, or features), in order. An empty branch is
/// x itself. Huang et al., "Densely connected convolutional networks" (2017), among others. Branch i is named "i".
template <class T>
struct Concat {
  static constexpr std::string_view kind = "Concat";

  Concat() = default;
  template <class... Branches>
  requires(sizeof...(Branches) > 1 &&
           (std::convertible_to<Branches, Sequential<T>> && ...)) explicit Concat(Branches&&... b)
      : chains{Sequential<T>(std::forward<Branches>(b))...} {}
  explicit Concat(std::vector<Sequential<T>> b) : chains(std::move(b)) {}

  std::vector<Sequential<T>> chains;
  // Set by setup, per branch: the number of parameters, and the width of the last axis.
  std::vector<std::size_t> parameter_counts = {};
  std::vector<index_t> widths = {};

  MIEN_COLD Features setup(const Features& input, Setup& setup) {
    if (chains.empty()) setup.reject(kind, input.shape, "at least one branch");
    parameter_counts.clear();
    widths.clear();
    Shape shape;
    index_t width = 0;
    for (std::size_t i = 0; i < chains.size(); ++i) {
      const std::size_t before = setup.declarations.size();
      const Features out = detail::setup_branch(chains[i], std::to_string(i), input, setup);
      parameter_counts.push_back(setup.declarations.size() - before);
      if (i > 0 && leading(out.shape) != leading(shape)) {
        setup.reject(
            kind, input.shape,
            "branches that differ in the last axis only; got " + shape.to_string() + " and " + out.shape.to_string());
      }
      shape = out.shape;
      widths.push_back(out.shape.back());
      width += out.shape.back();
    }
    Shape result = leading(shape);
    result.push_back(width);
    return {result, {}};
  }

  template <class U>
  Memory memory(const Shape& x, const Shape& y, int threads, bool keep) const {
    Memory total;
    std::size_t outputs = 0;
    for (std::size_t i = 0; i < chains.size(); ++i) {
      const Memory m = chains[i].memory_of(x, threads, keep);
      total.saved += padded(m.saved);
      total.scratch = std::max(total.scratch, padded(m.scratch));
      outputs += bytes_of<T>(branch_shape(y, i).size());
    }
    // Backward gathers a branch's dy, and a dx to add.
    if (keep) return {total.saved + outputs, total.scratch + outputs + bytes_of<T>(x.size())};
    return {0, total.scratch + outputs};
  }

  template <class U>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    each_branch(x.shape(), y.shape(), pass, pass.scratch,
                [&](std::size_t i, TensorView<T> out, const Pass<T>& inner, std::size_t, index_t column) {
                  chains[i].run_forward(x, out, inner);
                  copy_columns(out, 0, y, column, widths[i]);
                });
  }

  template <class U>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>& pass) const {
    using P = parameter_t<T>;
    Arena scratch(pass.scratch);
    const TensorView<T> part = dx ? scratch.tensor<T>(x.shape()) : TensorView<T>{};
    std::size_t dy_bytes = 0;
    for (std::size_t i = 0; i < chains.size(); ++i) dy_bytes += bytes_of<T>(branch_shape(y.shape(), i).size());
    Arena gathered(scratch.take_bytes(dy_bytes));
    each_branch(x.shape(), y.shape(), pass, scratch.rest(),
                [&](std::size_t i, TensorView<T> out, const Pass<T>& inner, std::size_t first, index_t column) {
                  const TensorView<T> own = gathered.tensor<T>(out.shape());
                  copy_columns(dy, column, own, 0, widths[i]);
                  const TensorView<T> target = dx && i > 0 ? part : dx;
                  chains[i].run_backward(x, out, own, target, gradients.subspan(first, parameter_counts[i]), inner);
                  if (!dx || i == 0) return;
                  kernels::for_each_index(pass.threads(), dx.size(),
                                          [p = part.data(), to = dx.data()](index_t k)
                                              MIEN_INLINE { to[k] = T(P(to[k]) + P(p[k])); });
                });
  }

  void describe(Describer&) {}

  std::vector<std::pair<std::string, Sequential<T>*>> branches() {
    std::vector<std::pair<std::string, Sequential<T>*>> result;
    for (std::size_t i = 0; i < chains.size(); ++i) result.emplace_back(std::to_string(i), &chains[i]);
    return result;
  }

 private:
  static Shape leading(const Shape& shape) {
    Shape result;
    for (int i = 0; i + 1 < shape.rank(); ++i) result.push_back(shape[i]);
    return result;
  }
  Shape branch_shape(const Shape& y, std::size_t i) const {
    Shape result = leading(y);
    result.push_back(widths[i]);
    return result;
  }

  /// Calls f(branch, its output, its pass, its first parameter, its first column) in order.
  template <class F>
  void each_branch(const Shape& x, const Shape& y, const Pass<T>& pass, std::span<std::byte> memory, const F& f) const {
    Arena saved(pass.saved), scratch(memory);
    std::size_t first = 0;
    index_t column = 0;
    for (std::size_t i = 0; i < chains.size(); ++i) {
      const TensorView<T> out = (pass.keep ? saved : scratch).template tensor<T>(branch_shape(y, i));
      const auto kept = pass.keep ? saved.take_bytes(chains[i].memory_of(x, pass.threads().count(), true).saved)
                                  : std::span<std::byte>{};
      f(i, out, detail::branch_pass(pass, first, parameter_counts[i], kept, scratch.rest()), first, column);
      first += parameter_counts[i];
      column += widths[i];
    }
  }

  static void copy_columns(TensorView<const T> from, index_t from_column, TensorView<T> to, index_t to_column,
                           index_t width) {
    const index_t from_width = from.shape().back(), to_width = to.shape().back();
    for (index_t row = 0; row < from.size() / from_width; ++row) {
      std::copy_n(from.data() + row * from_width + from_column, width, to.data() + row * to_width + to_column);
    }
  }
};

}  // namespace mien
