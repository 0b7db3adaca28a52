// Every convolution pass of every instruction set against the plain loops, on random geometries.
#include "mien/kernels/batch_norm.hpp"
#include "mien/kernels/conv2d.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "dice.hpp"
#include "mien/core/random.hpp"
#include "mien/core/tensor.hpp"

namespace {

using namespace mien;
using namespace mien::kernels;

using test::Dice;

/// A geometry of one of several kinds, small enough for the reference.
ConvGeometry random_geometry(Dice& dice, int kind) {
  for (;;) {
    ConvGeometry g;
    g.batch = dice(1, 4);
    g.height = dice(1, 13);
    g.width = dice(1, 13);
    g.channels = dice(1, 3) == 1 ? dice(1, 5) : dice(1, 70);
    g.filters = dice(1, 4) == 1 ? dice(60, 140) : dice(1, 70);
    g.kernel_h = g.kernel_w = 3;
    g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = dice(0, 1);
    switch (kind % 12) {
      case 0:
        break;  // the common case: 3x3
      case 1:   // 1x1
        g.kernel_h = g.kernel_w = 1;
        g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = 0;
        if (dice(0, 2) == 0) {  // one column of a narrow image
          g.batch = dice(1, 2);
          g.stride_w = dice(2, 3);
          g.width = dice(1, g.stride_w);
          g.filters = dice(16, 140);
        }
        break;
      case 2:  // dense
        g.batch = g.height = g.kernel_h = g.kernel_w = 1;
        g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = 0;
        g.width = dice(1, 40);
        g.channels = dice(1, 300);
        break;
      case 3:  // anything
        g.kernel_h = dice(1, 5);
        g.kernel_w = dice(1, 5);
        g.stride_h = dice(1, 4);
        g.stride_w = dice(1, 4);
        g.dilation_h = dice(1, 3);
        g.dilation_w = dice(1, 3);
        g.pad_top = dice(0, g.kernel_h);
        g.pad_bottom = dice(0, g.kernel_h);
        g.pad_left = dice(0, g.kernel_w);
        g.pad_right = dice(0, g.kernel_w);
        break;
      case 4:  // groups
        g.groups = dice(1, 5);
        g.channels = g.groups * dice(1, 9);
        g.filters = g.groups * dice(1, 20);
        g.stride_h = g.stride_w = dice(1, 2);
        g.dilation_w = dice(1, 2);
        break;
      case 5:  // depthwise
        g.channels = dice(1, 40);
        g.groups = g.channels;
        g.filters = g.groups * dice(1, 2);
        g.stride_h = g.stride_w = dice(1, 2);
        break;
      case 6:  // one channel, or stride above the window
        g.channels = dice(1, 2);
        g.kernel_h = g.kernel_w = dice(1, 3);
        g.stride_h = g.stride_w = dice(1, 5);
        break;
      case 7:  // many images, few pixels
        g.batch = dice(5, 30);
        g.height = dice(1, 5);
        g.width = dice(1, 5);
        break;
      case 8:  // gray images
        g.channels = 1;
        g.width = dice(1, 50);
        g.filters = dice(1, 3) == 1 ? dice(1, 70) : 8 * dice(1, 12);
        g.pad_left = dice(0, 2);
        g.pad_top = dice(0, 2);
        break;
      case 9:  // rows of nearly whole sixteens, whole steps of channels
        g.batch = dice(1, 5);
        g.height = dice(6, 15);
        g.width = dice(0, 1) == 0 ? dice(14, 16) : dice(43, 50);
        g.channels = 32 * dice(1, 2);
        g.filters = dice(1, 33);
        g.pad_left = dice(0, 3);
        g.pad_bottom = dice(0, 3);
        break;
      case 10:  // large dense layers
        g.batch = g.height = g.kernel_h = g.kernel_w = 1;
        g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = 0;
        g.width = dice(1, 70);
        g.channels = dice(0, 1) == 0 ? 32 * dice(1, 20) : dice(60, 640);
        g.filters = dice(0, 1) == 0 ? 16 * dice(4, 12) : dice(60, 200);
        if (dice(0, 4) == 0) {  // more rows than one panel holds, and yet fewer than channels and filters
          g.width = dice(65, 130);
          g.channels = g.width + dice(0, 20);
          g.filters = 2 * g.width + dice(0, 20);
        }
        break;
      default:  // many images, rows of several pixels
        g.batch = dice(14, 40);
        g.height = dice(2, 5);
        g.width = dice(3, 12);
        g.channels = 16 * dice(1, 4);
        g.filters = dice(1, 40);
        g.pad_left = dice(0, 2);
        if (dice(0, 2) == 0) g.pad_top = g.pad_bottom = dice(3, 4);  // windows that see padding alone
        break;
    }
    if (g.height + g.pad_top + g.pad_bottom < g.dilation_h * (g.kernel_h - 1) + 1) continue;
    if (g.width + g.pad_left + g.pad_right < g.dilation_w * (g.kernel_w - 1) + 1) continue;
    if (g.multiply_adds() > 6e6) continue;
    return g;
  }
}

std::string text(const ConvGeometry& g) {
  std::string s;
  for (index_t v : {g.batch, g.height, g.width, g.channels, g.filters, g.kernel_h, g.kernel_w, g.stride_h, g.stride_w,
                    g.pad_top, g.pad_left, g.pad_bottom, g.pad_right, g.dilation_h, g.dilation_w, g.groups})
    s += std::to_string(v) + " ";
  return s;
}

template <class T>
std::vector<T> random_values(Dice& dice, index_t size) {
  std::vector<T> values(static_cast<std::size_t>(size));
  for (T& v : values) v = T(static_cast<parameter_t<T>>(dice.real()));
  return values;
}

template <class V>
std::vector<double> absolute(const std::vector<V>& values) {
  std::vector<double> result;
  result.reserve(values.size());
  for (const V& v : values) result.push_back(std::abs(static_cast<double>(v)));
  return result;
}

/// Memory that an overrun would be seen in: scratch of the very size asked for, 64-byte aligned.
struct Scratch {
  explicit Scratch(std::size_t bytes) : memory(bytes + 64 + 64, std::byte{0xff}), size(bytes) {}
  std::byte* data() {
    void* p = memory.data();
    std::size_t space = memory.size();
    return static_cast<std::byte*>(std::align(64, size + 64, p, space));
  }
  bool intact() {
    for (std::size_t i = 0; i < 64; ++i)
      if (data()[size + i] != std::byte{0xff}) return false;
    return true;
  }
  std::vector<std::byte> memory;
  std::size_t size;
};

struct Limits {
  double unit, store;  // relative rounding of one addition, and of storing the result
};
template <class T>
constexpr Limits limits = std::is_same_v<T, double>  ? Limits{1.2e-16, 0}
                          : std::is_same_v<T, float> ? Limits{6e-8, 0}
                                                     : Limits{6e-8, 1.0 / 128};

/// |fast - reference| <= 2 * (terms + 2) * unit * sum|x||w| + store * |reference|: both sides sum `terms` rounded
/// products in some order (Higham, Accuracy and Stability, 3.1); bfloat16 results may also round to neighbours.
template <class V, class M>
void check_close(const std::vector<V>& fast, const std::vector<V>& truth, const std::vector<M>& magnitude, double terms,
                 const Limits& limit, const std::string& what) {
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double a = static_cast<double>(fast[i]), b = static_cast<double>(truth[i]);
    const double bound = 2 * (terms + 2) * limit.unit * static_cast<double>(magnitude[i]) * (1 + limit.store) +
                         limit.store * std::abs(b);
    if (!(std::abs(a - b) <= bound)) {
      FAIL_CHECK(what << ": value " << i << " is " << a << ", expected " << b << ", allowed " << bound);
      return;
    }
  }
}

template <class V>
bool same_bytes(const std::vector<V>& a, const std::vector<V>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(V)) == 0;
}

template <class T>
struct Results {
  std::vector<T> y, dx;
  std::vector<parameter_t<T>> dw, dbias;

  bool same(const Results& other) const {
    return same_bytes(y, other.y) && same_bytes(dx, other.dx) && same_bytes(dw, other.dw) &&
           same_bytes(dbias, other.dbias);
  }
};

template <class T>
Results<T> run_all(const ConvGeometry& g, const std::vector<T>& x, const std::vector<parameter_t<T>>& w,
                   const parameter_t<T>* bias, const std::vector<T>& dy, int count, Isa isa) {
  using P = parameter_t<T>;
  const Threads threads(count);
  const T poison = T(std::numeric_limits<P>::quiet_NaN());
  Results<T> r;
  r.y.assign(static_cast<std::size_t>(g.output_size()), poison);
  r.dx.assign(x.size(), poison);
  r.dw.assign(w.size(), std::numeric_limits<P>::quiet_NaN());
  r.dbias.assign(static_cast<std::size_t>(g.filters), std::numeric_limits<P>::quiet_NaN());
  for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights}) {
    Scratch scratch(conv2d_scratch_bytes<T>(pass, g, count, isa));
    std::byte* s = scratch.data();
    if (pass == ConvPass::forward) conv2d_forward<T>(g, x.data(), w.data(), bias, r.y.data(), s, threads, isa);
    if (pass == ConvPass::backward_data) conv2d_backward_data<T>(g, dy.data(), w.data(), r.dx.data(), s, threads, isa);
    if (pass == ConvPass::backward_weights)
      conv2d_backward_weights<T>(g, x.data(), dy.data(), r.dw.data(), r.dbias.data(), s, threads, isa);
    CHECK(scratch.intact());
  }
  return r;
}

/// `geometry(dice, i)`: shape i.
template <class T, class G = decltype(random_geometry)>
void compare_with_reference(Isa isa, int count, const G& geometry = random_geometry) {
  using P = parameter_t<T>;
  if (isa > cpu_isa()) {
    MESSAGE("skipped: this machine has no " << to_string(isa));
    return;
  }
  Dice dice{static_cast<std::uint64_t>(isa) * 77 + sizeof(T)};
  for (int i = 0; i < count; ++i) {
    ConvGeometry g = geometry(dice, i);
    if constexpr (std::is_same_v<P, float>) {
      // Where windows see only padding, results of Winograd's way are as exact as its tiles, not zero: its own case.
      const auto& blocks = kernels::detail::pick_blocks<float>(isa);
      const bool tiles = std::is_same_v<T, bfloat16> && isa >= Isa::amx;
      if (!tiles && kernels::detail::WinogradPlan(kernels::detail::forward_correlation(g), blocks).fits)
        for (index_t* pad : {&g.pad_top, &g.pad_left, &g.pad_bottom, &g.pad_right}) *pad = std::min(*pad, index_t{2});
    }
    const std::string where = text(g) + std::string(to_string(isa));
    CAPTURE(where);
    const auto x = random_values<T>(dice, g.input_size());
    const auto w = random_values<P>(dice, g.weight_size());
    const auto b = random_values<P>(dice, g.filters);
    const auto dy = random_values<T>(dice, g.output_size());
    const P* bias = i % 3 == 0 ? nullptr : b.data();
    const Results<T> one = run_all<T>(g, x, w, bias, dy, 1, isa);
    for (const int threads : {1, 2, 3}) CHECK(run_all<T>(g, x, w, bias, dy, threads, isa).same(one));

    Results<T> truth{one.y, one.dx, one.dw, one.dbias};
    reference::conv2d_forward<T>(g, x.data(), w.data(), bias, truth.y.data());
    reference::conv2d_backward_data<T>(g, dy.data(), w.data(), truth.dx.data());
    reference::conv2d_backward_weights<T>(g, x.data(), dy.data(), truth.dw.data(), truth.dbias.data());
    // The same sums over absolute values bound the rounding.
    const auto ax = absolute(x), aw = absolute(w), ady = absolute(dy), ab = absolute(b);
    Results<double> size{std::vector<double>(one.y.size()), std::vector<double>(x.size()),
                         std::vector<double>(w.size()), std::vector<double>(b.size())};
    reference::conv2d_forward<double>(g, ax.data(), aw.data(), bias ? ab.data() : nullptr, size.y.data());
    reference::conv2d_backward_data<double>(g, ady.data(), aw.data(), size.dx.data());
    reference::conv2d_backward_weights<double>(g, ax.data(), ady.data(), size.dw.data(), size.dbias.data());
    const double taps = static_cast<double>(g.kernel_h * g.kernel_w);
    const index_t channels = g.channels / g.groups, filters = g.filters / g.groups;
    check_close(one.y, truth.y, size.y, taps * static_cast<double>(channels), limits<T>, "forward");
    check_close(one.dx, truth.dx, size.dx, taps * static_cast<double>(filters), limits<T>, "backward data");
    const double pixels = static_cast<double>(g.batch * g.out_height() * g.out_width());
    const Limits sums{limits<T>.unit, 0};
    check_close(one.dw, truth.dw, size.dw, pixels, sums, "backward weights");
    check_close(one.dbias, truth.dbias, size.dbias, pixels, sums, "backward bias");
  }
}

/// 0 finite, 1 NaN, 2 and 3 the infinities.
template <class V>
std::vector<int> kinds(const std::vector<V>& values) {
  std::vector<int> result;
  for (const V& v : values) {
    const double d = static_cast<double>(v);
    result.push_back(std::isnan(d) ? 1 : std::isinf(d) ? (d > 0 ? 2 : 3) : 0);
  }
  return result;
}

/// Sums that a float holds and bfloat16 does not: infinities come out where the plain loops have them.
void compare_overflow_in_rounding(Isa isa) {
  if (isa > cpu_isa()) {
    MESSAGE("skipped: this machine has no " << to_string(isa));
    return;
  }
  // The largest bfloat16 is 255 * 2^120; what is beyond it by more than 2^119 is rounded to infinity.
  const float large = std::ldexp(255.0f, 56), beyond = std::ldexp(1.5f, 119), below = std::ldexp(1.0f, 118);
  const auto unit = bfloat16(std::ldexp(1.0f, 64));
  Dice dice{1234 + static_cast<std::uint64_t>(isa)};
  std::size_t overflows = 0, others = 0;
  for (int i = 0; i < 60; ++i) {
    const ConvGeometry g = random_geometry(dice, i);
    const std::string where = text(g) + std::string(to_string(isa));
    CAPTURE(where);
    const std::vector<bfloat16> x(static_cast<std::size_t>(g.input_size()), unit);
    const std::vector<bfloat16> dy(static_cast<std::size_t>(g.output_size()), unit);
    std::vector<float> w(static_cast<std::size_t>(g.weight_size())), bias(static_cast<std::size_t>(g.filters));
    const auto compare = [&](ConvPass pass) {
      const Results<bfloat16> got = run_all<bfloat16>(g, x, w, bias.data(), dy, 1, isa);
      const auto& values = pass == ConvPass::forward ? got.y : got.dx;
      auto truth = values;
      if (pass == ConvPass::forward)
        reference::conv2d_forward<bfloat16>(g, x.data(), w.data(), bias.data(), truth.data());
      else
        reference::conv2d_backward_data<bfloat16>(g, dy.data(), w.data(), truth.data());
      const std::vector<int> expected = kinds(truth);
      CHECK(kinds(values) == expected);
      const auto finite = static_cast<std::size_t>(std::count(expected.begin(), expected.end(), 0));
      overflows += expected.size() - finite;
      others += finite;
    };
    // One tap of one channel, and biases.
    const std::size_t filter_size = w.size() / bias.size();
    for (std::size_t f = 0; f < bias.size(); ++f) {
      const float sign = f % 2 == 0 ? 1.0f : -1.0f;
      w[f * filter_size] = sign * large;
      bias[f] = sign * (f % 3 == 0 ? beyond : below);
    }
    compare(ConvPass::forward);
    // One tap of two filters of each group.
    const std::size_t filters = bias.size() / static_cast<std::size_t>(g.groups);
    for (std::size_t f = 0; f < bias.size(); ++f) {
      const float second = (i % 2 == 0 ? beyond : below) / static_cast<float>(unit);
      w[f * filter_size] = f % filters == 0 ? large : f % filters == 1 ? second : 0.0f;
    }
    compare(ConvPass::backward_data);
  }
  CHECK(overflows > 1000);
  CHECK(others > 1000);
}

/// NaN and infinity come out where the plain loops have them, and nowhere else.
template <class T>
void compare_special_values(Isa isa) {
  using P = parameter_t<T>;
  if (isa > cpu_isa()) {
    MESSAGE("skipped: this machine has no " << to_string(isa));
    return;
  }
  Dice dice{99 + static_cast<std::uint64_t>(isa)};
  const P special[] = {std::numeric_limits<P>::quiet_NaN(), std::numeric_limits<P>::infinity(),
                       -std::numeric_limits<P>::infinity()};
  int seen = 0, seen_in_y = 0;
  for (int i = 0; i < 96; ++i) {
    ConvGeometry g = random_geometry(dice, i);
    if (i % 4 == 3) {  // the gray first layer
      g = ConvGeometry{};
      g.batch = dice(1, 20);
      g.height = g.width = dice(4, 9);
      g.filters = i % 8 == 3 ? 32 : dice(1, 40);
      g.kernel_h = g.kernel_w = 3;
      g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = 1;
    }
    const std::string where = text(g) + std::string(to_string(isa));
    CAPTURE(where);
    auto x = random_values<T>(dice, g.input_size());
    auto w = random_values<P>(dice, g.weight_size());
    auto b = random_values<P>(dice, g.filters);
    auto dy = random_values<T>(dice, g.output_size());
    const auto at = [&](const auto& v) {
      return static_cast<std::size_t>(dice(0, static_cast<index_t>(v.size()) - 1));
    };
    const P value = special[i % 3];
    const index_t operand = dice(0, 3);
    if (operand == 0) x[at(x)] = T(value);
    if (operand == 1) w[at(w)] = value;
    if (operand == 2) dy[at(dy)] = T(value);
    if (operand == 3) b[at(b)] = value;
    const P* bias = operand != 3 && i % 2 == 0 ? nullptr : b.data();
    const Results<T> fast = run_all<T>(g, x, w, bias, dy, 1, isa);
    Results<T> truth = fast;
    reference::conv2d_forward<T, P>(g, x.data(), w.data(), bias, truth.y.data());
    reference::conv2d_backward_data<T>(g, dy.data(), w.data(), truth.dx.data());
    reference::conv2d_backward_weights<T>(g, x.data(), dy.data(), truth.dw.data(), truth.dbias.data());
    CHECK(kinds(fast.y) == kinds(truth.y));
    CHECK(kinds(fast.dx) == kinds(truth.dx));
    CHECK(kinds(fast.dw) == kinds(truth.dw));
    CHECK(kinds(fast.dbias) == kinds(truth.dbias));
    for (int kind : kinds(truth.dw)) seen += kind != 0;
    for (int kind : kinds(truth.y)) seen_in_y += kind != 0;
  }
  CHECK(seen > 0);
  CHECK(seen_in_y > 0);
}

}  // namespace

namespace {

/// [n, row, column, c]: the sum of values (N, height, width, channels) over squares of `side` pixels, the first of
/// which begins `top` rows and `left` columns before the image and the others `step` further each.
std::vector<double> square_sums(const std::vector<double>& values, index_t batch, index_t height, index_t width,
                                index_t channels, index_t rows, index_t columns, index_t top, index_t left,
                                index_t step, index_t side) {
  std::vector<double> sums(static_cast<std::size_t>(batch * rows * columns * channels));
  for (index_t tile = 0; tile < batch * rows * columns; ++tile) {
    const index_t n = tile / (rows * columns), first_h = tile / columns % rows * step - top;
    const index_t first_w = tile % columns * step - left;
    for (index_t h = std::max(first_h, index_t{0}); h < std::min(first_h + side, height); ++h)
      for (index_t w = std::max(first_w, index_t{0}); w < std::min(first_w + side, width); ++w)
        for (index_t c = 0; c < channels; ++c)
          sums[static_cast<std::size_t>(tile * channels + c)] +=
              values[static_cast<std::size_t>(((n * height + h) * width + w) * channels + c)];
  }
  return sums;
}

/// product (rows, columns) = a (rows, depth) b (depth, columns).
std::vector<double> multiplied(const std::vector<double>& a, const std::vector<double>& b, index_t depth,
                               index_t columns) {
  const auto rows = static_cast<index_t>(a.size()) / depth;
  std::vector<double> product(static_cast<std::size_t>(rows * columns));
  for (index_t r = 0; r < rows; ++r)
    for (index_t d = 0; d < depth; ++d)
      for (index_t c = 0; c < columns; ++c)
        product[static_cast<std::size_t>(r * columns + c)] +=
            a[static_cast<std::size_t>(r * depth + d)] * b[static_cast<std::size_t>(d * columns + c)];
  return product;
}

std::vector<double> turned(const std::vector<double>& matrix, index_t columns) {
  std::vector<double> result;
  for (index_t c = 0; c < columns; ++c)
    for (std::size_t at = static_cast<std::size_t>(c); at < matrix.size(); at += static_cast<std::size_t>(columns))
      result.push_back(matrix[at]);
  return result;
}

/// The bound of winograd_transforms.hpp on each result of each pass of g, but for the rounding of what is stored.
struct WinogradBounds {
  std::vector<double> y, dx, dw;

  WinogradBounds(const ConvGeometry& g, index_t tile, index_t tile_dx, const std::vector<double>& x,
                 const std::vector<double>& w, const std::vector<double>& dy) {
    const index_t oh = g.out_height(), ow = g.out_width(), c = g.channels, k = g.filters;
    std::vector<double> windows(static_cast<std::size_t>(k * c));  // |g| summed over each
    for (std::size_t i = 0; i < w.size(); ++i) windows[i / 9] += w[i];
    const auto tiles = [](index_t extent, index_t size) { return (extent + size - 1) / size; };
    const auto factor = [](index_t size, index_t terms) {
      const double k_of_size =
          size == 3 ? kernels::detail::Winograd<3, 8>::bound_factor : kernels::detail::Winograd<4, 8>::bound_factor;
      return k_of_size * (static_cast<double>(terms) + 36) * limits<float>.unit;
    };
    const index_t rows = tiles(oh, tile), columns = tiles(ow, tile);
    const auto of_x =
        square_sums(x, g.batch, g.height, g.width, c, rows, columns, g.pad_top, g.pad_left, tile, tile + 2);
    spread(multiplied(of_x, turned(windows, c), c, k), g.batch, oh, ow, k, tile, factor(tile, c), y);

    const index_t rows_dx = tiles(g.height, tile_dx), columns_dx = tiles(g.width, tile_dx);
    const auto of_dy =
        square_sums(dy, g.batch, oh, ow, k, rows_dx, columns_dx, 2 - g.pad_top, 2 - g.pad_left, tile_dx, tile_dx + 2);
    spread(multiplied(of_dy, windows, k, c), g.batch, g.height, g.width, c, tile_dx, factor(tile_dx, k), dx);

    const auto outputs = square_sums(dy, g.batch, oh, ow, k, rows, columns, 0, 0, tile, tile);
    for (const double sum : multiplied(turned(outputs, k), of_x, g.batch * rows * columns, c))
      dw.insert(dw.end(), 9, factor(tile, g.batch * rows * columns) * sum);
  }

 private:
  /// What stands for tiles, for each of their pixels.
  static void spread(const std::vector<double>& of_tiles, index_t batch, index_t height, index_t width,
                     index_t channels, index_t tile, double factor, std::vector<double>& of_pixels) {
    const index_t rows = (height + tile - 1) / tile, columns = (width + tile - 1) / tile;
    for (index_t n = 0; n < batch; ++n)
      for (index_t i = 0; i < height; ++i)
        for (index_t j = 0; j < width; ++j)
          for (index_t c = 0; c < channels; ++c)
            of_pixels.push_back(
                factor *
                of_tiles[static_cast<std::size_t>(((n * rows + i / tile) * columns + j / tile) * channels + c)]);
  }
};

/// A shape that takes Winograd's way in every pass; every sixth one has too few tiles for its weight gradients.
ConvGeometry winograd_geometry(Dice& dice, int i, const kernels::detail::BlockKernels<float>& blocks) {
  const bool many = i % 20 < 2, few = i % 6 == 5;
  for (;;) {
    ConvGeometry g;
    const bool small = i % 3 == 0;  // tiles of 3x3 fit these best
    g.height = small ? dice(5, 6) : dice(9, 24);
    g.width = small ? dice(5, 6) : dice(9, 24);
    g.batch = (few ? 800 : many ? 5000 : small ? 2400 : 4200) / (g.height * g.width) + dice(0, 3);
    g.channels = 16 * (many ? dice(1, 3) : std::max(dice(0, 2), index_t{1}));
    g.filters = 16 * (many ? dice(1, 5) : std::max(dice(0, 2), index_t{1}));
    g.kernel_h = g.kernel_w = 3;
    g.pad_top = small ? 1 : dice(0, 3);
    g.pad_left = small ? 1 : dice(0, 3);
    g.pad_bottom = small ? 1 : dice(0, 3);
    g.pad_right = small ? 1 : dice(0, 3);
    if (i == 2) {  // few enough tiles for weight gradients by groups of filters, the last of them smaller
      g.height = g.width = 12;
      g.batch = 36;
      g.channels = 96;
      g.filters = 144;
    }
    if (kernels::detail::WinogradPlan(kernels::detail::forward_correlation(g), blocks).fits &&
        kernels::detail::WinogradPlan(kernels::detail::backward_correlation(g), blocks).fits &&
        kernels::detail::WinogradGradientPlan(g, blocks).fits == !few)
      return g;
  }
}

/// Winograd's way against sums in double: every pass within the bound of winograd_transforms.hpp (and, in practice, far
/// below it); bfloat16 results may also round to neighbours.
template <class T>
void compare_winograd(Isa isa, int count) {
  if (isa > cpu_isa()) {
    MESSAGE("skipped: this machine has no " << to_string(isa));
    return;
  }
  const auto& blocks = kernels::detail::pick_blocks<float>(isa);
  Dice dice{static_cast<std::uint64_t>(isa) * 31};
  int taken[5] = {};  // by the size of a tile
  int grouped = 0;    // weight gradients by groups of filters
  for (int i = 0; i < count; ++i) {
    const ConvGeometry g = winograd_geometry(dice, i, blocks);
    const std::string where = text(g) + std::string(to_string(isa));
    CAPTURE(where);
    const kernels::detail::WinogradPlan plan(kernels::detail::forward_correlation(g), blocks);
    const kernels::detail::WinogradPlan plan_dx(kernels::detail::backward_correlation(g), blocks);
    ++taken[plan.tile];
    grouped += kernels::detail::WinogradGradientPlan(g, blocks).groups > 1;
    auto x = random_values<T>(dice, g.input_size());
    auto w = random_values<float>(dice, g.weight_size());
    const auto b = random_values<float>(dice, g.filters);
    auto dy = random_values<T>(dice, g.output_size());
    const Results<T> one = run_all<T>(g, x, w, b.data(), dy, 1, isa);
    for (const int threads : {1, 2, 3}) CHECK(run_all<T>(g, x, w, b.data(), dy, threads, isa).same(one));
    const auto doubles = [](const auto& values) { return std::vector<double>(values.begin(), values.end()); };
    std::vector<double> rounded;  // w as it is multiplied
    for (const float v : w) rounded.push_back(static_cast<double>(static_cast<float>(T(v))));
    const auto exact_x = doubles(x), exact_dy = doubles(dy), exact_b = doubles(b);
    // In double there is no such way, only the one that is tested below.
    const Results<double> truth = run_all<double>(g, exact_x, rounded, exact_b.data(), exact_dy, 2, isa);
    const WinogradBounds bounds(g, plan.tile, plan_dx.tile, absolute(x), absolute(rounded), absolute(dy));
    // `store`: the rounding of results to T. What remains is of adding the bias.
    const auto within = [&](const auto& got, const auto& expected, const auto& bound, double store, const char* what) {
      double worst = 0, typical = 0;
      for (std::size_t k = 0; k < expected.size(); ++k) {
        const double error = std::abs(static_cast<double>(got[k]) - expected[k]);
        const double size = std::abs(expected[k]);
        const double allowed = bound[k] + store * (size + bound[k]) + 4 * limits<float>.unit * (size + 1);
        if (!(error <= allowed)) {
          FAIL_CHECK(what << ": value " << k << " is " << static_cast<double>(got[k]) << ", expected " << expected[k]
                          << ", allowed " << allowed);
          return;
        }
        worst = std::max(worst, error);
        typical = std::max(typical, std::abs(expected[k]));
      }
      CHECK(worst < (4e-6 + store) * typical);  // what is seen in practice
    };
    within(one.y, truth.y, bounds.y, limits<T>.store / 2, "forward");  // once: the sums are not rounded
    within(one.dx, truth.dx, bounds.dx, limits<T>.store / 2, "backward data");
    within(one.dw, truth.dw, bounds.dw, 0,
           "backward weights");  // of few tiles the direct way's, whose bound is smaller
    std::vector<double> sizes(b.size());
    for (std::size_t k = 0; k < dy.size(); ++k) sizes[k % b.size()] += std::abs(exact_dy[k]);
    const double pixels = static_cast<double>(g.batch * g.out_height() * g.out_width());
    for (double& size : sizes) size *= (pixels + 2) * limits<float>.unit;
    within(one.dbias, truth.dbias, sizes, 0, "backward bias");
    // Values that are not finite stay where the plain loops have them.
    if (i % 10 == 0) {
      const float value =
          i % 20 == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
      auto bias = b;
      const index_t operand = dice(0, 3);
      if (operand == 0) x[static_cast<std::size_t>(dice(0, g.input_size() - 1))] = T(value);
      if (operand == 1) w[static_cast<std::size_t>(dice(0, g.weight_size() - 1))] = value;
      if (operand == 2) dy[static_cast<std::size_t>(dice(0, g.output_size() - 1))] = T(value);
      if (operand == 3) bias[static_cast<std::size_t>(dice(0, g.filters - 1))] = value;
      const Results<T> special = run_all<T>(g, x, w, bias.data(), dy, 1, isa);
      Results<T> plain = special;
      reference::conv2d_forward<T>(g, x.data(), w.data(), bias.data(), plain.y.data());
      reference::conv2d_backward_data<T>(g, dy.data(), w.data(), plain.dx.data());
      reference::conv2d_backward_weights<T>(g, x.data(), dy.data(), plain.dw.data(), plain.dbias.data());
      CHECK(kinds(special.y) == kinds(plain.y));
      CHECK(kinds(special.dx) == kinds(plain.dx));
      CHECK(kinds(special.dw) == kinds(plain.dw));
      CHECK(kinds(special.dbias) == kinds(plain.dbias));
    }
  }
  CHECK(taken[3] > count / 4);
  CHECK(taken[4] > count / 2);
  CHECK(grouped > 0);
}

/// The emulation knows the instructions of tiles, and of rounding, but no dot products.
constexpr Isa every_isa[] = {Isa::portable, Isa::avx2, Isa::avx512,
#if !defined(MIEN_EMULATED)
                             Isa::avx512_bf16,
#endif
                             Isa::amx};

/// How many shapes are tried: under sanitizers, which find what any of them shows and slow the plain loops most, a
/// quarter; half where each tile instruction takes microseconds.
constexpr int shapes(int count) {
#if defined(MIEN_SANITIZED)
  return count / 4;
#elif defined(MIEN_EMULATED)
  return count / 2;
#else
  return count;
#endif
}

/// Draws padding, and makes the image as large as a window then has to find.
void draw_padding(Dice& dice, index_t least, index_t most, ConvGeometry& g) {
  for (index_t* pad : {&g.pad_top, &g.pad_left, &g.pad_bottom, &g.pad_right}) *pad = dice(least, most);
  g.height = std::max(g.height, g.dilation_h * (g.kernel_h - 1) + 1 - g.pad_top - g.pad_bottom);
  g.width = std::max(g.width, g.dilation_w * (g.kernel_w - 1) + 1 - g.pad_left - g.pad_right);
}

}  // namespace

TEST_CASE("Winograd's way agrees with the plain loops") {
  if (!MIEN_HAS_X86_KERNELS) compare_winograd<float>(Isa::portable, shapes(240));
  compare_winograd<float>(Isa::avx2, shapes(240));
  compare_winograd<float>(Isa::avx512, shapes(240));
}
TEST_CASE("Winograd's way agrees with the plain loops, bfloat16") {
  if (!MIEN_HAS_X86_KERNELS) compare_winograd<bfloat16>(Isa::portable, shapes(240));
  compare_winograd<bfloat16>(Isa::avx2, shapes(240));
  compare_winograd<bfloat16>(Isa::avx512, shapes(240));
  compare_winograd<bfloat16>(Isa::avx512_bf16, shapes(200));
}

TEST_CASE("Winograd's way is not taken by a processor whose instructions it is not compiled for") {
  ConvGeometry g;
  g.batch = 16;
  g.height = g.width = 16;
  g.channels = g.filters = 32;
  g.kernel_h = g.kernel_w = 3;
  g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = 1;
  const auto fits = [&](Isa isa) {
    return kernels::detail::WinogradPlan(kernels::detail::forward_correlation(g),
                                         kernels::detail::pick_blocks<float>(isa))
        .fits;
  };
  CHECK(fits(Isa::portable) == !MIEN_HAS_X86_KERNELS);
  CHECK(fits(Isa::avx2));
  CHECK(fits(Isa::avx512));
}

TEST_CASE("convolution agrees with the plain loops, portable") {
  compare_with_reference<float>(Isa::portable, shapes(200));
  compare_with_reference<double>(Isa::portable, shapes(200));
  compare_with_reference<bfloat16>(Isa::portable, shapes(200));
}
TEST_CASE("convolution agrees with the plain loops, AVX2") {
  compare_with_reference<float>(Isa::avx2, shapes(240));
  compare_with_reference<bfloat16>(Isa::avx2, shapes(200));
}
TEST_CASE("convolution agrees with the plain loops, AVX-512") {
  compare_with_reference<float>(Isa::avx512, shapes(240));
  compare_with_reference<bfloat16>(Isa::avx512, shapes(200));
}
TEST_CASE("convolution agrees with the plain loops, AVX-512 BF16") {
  compare_with_reference<float>(Isa::avx512_bf16, shapes(240));
  compare_with_reference<bfloat16>(Isa::avx512_bf16, shapes(400));
}
/// Few small images of many channels, whose padding is left out, a tap at a time.
template <class T>
void compare_small_images(Isa isa) {
  int skipping = 0;
  compare_with_reference<T>(isa, shapes(200), [&](Dice& dice, int i) {
    ConvGeometry g;
    g.batch = dice(1, 2);
    g.height = dice(2, 6);
    g.width = dice(2, 6);
    g.channels = dice(120, 180);
    g.filters = i % 4 == 0 ? dice(30, 70) : dice(1, 20);
    g.kernel_h = g.kernel_w = i % 5 == 0 ? 5 : 3;
    g.stride_h = g.stride_w = i % 4 == 1 ? 2 : 1;
    g.dilation_h = g.dilation_w = i % 8 == 3 ? 2 : 1;
    draw_padding(dice, 1, 3, g);
    const auto c = kernels::detail::forward_correlation(g);
    skipping += kernels::detail::skips_padding(c) && !kernels::detail::has_few_pixels(c) &&
                !kernels::detail::WinogradPlan(c, kernels::detail::pick_blocks<float>(isa)).fits;
    return g;
  });
  if (isa <= cpu_isa()) CHECK(skipping > shapes(200) / 2);
}
TEST_CASE("convolution agrees with the plain loops, few small images of many channels") {
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    compare_small_images<float>(isa);
    compare_small_images<bfloat16>(isa);
  }
}
/// Windows of one pixel are dense layers in disguise, unless strides or padding are in the way.
template <class T>
void compare_windows_of_one_pixel(Isa isa) {
  compare_with_reference<T>(isa, shapes(200), [&](Dice& dice, int i) {
    ConvGeometry g;
    const bool column = i % 3 == 0;  // of one image, as an inner dimension may be
    g.batch = column && i % 2 == 0 ? 1 : dice(1, 10);
    g.height = dice(1, column ? 40 : 8);
    g.width = column ? 1 : dice(1, 8);
    g.channels = dice(0, 3) == 0 ? dice(1, 70) : 32 * dice(1, 3);
    g.filters = dice(0, 1) == 0 ? dice(1, 70) : 16 * dice(8, 10);
    g.stride_h = dice(1, 3);
    g.stride_w = dice(1, 3);
    if (i % 2 == 1)
      for (index_t* pad : {&g.pad_top, &g.pad_left, &g.pad_bottom, &g.pad_right}) *pad = dice(0, 2);
    return g;
  });
}
TEST_CASE("convolution agrees with the plain loops, windows of one pixel") {
  for (const Isa isa : every_isa) {
    compare_windows_of_one_pixel<float>(isa);
    compare_windows_of_one_pixel<bfloat16>(isa);
  }
}
/// One filter, or one channel, whose gradients have one.
template <class T>
void compare_single_outputs(Isa isa) {
  int taken = 0;
  compare_with_reference<T>(isa, shapes(200), [&](Dice& dice, int i) {
    ConvGeometry g;
    g.batch = dice(1, 9);
    g.height = dice(1, 20);
    g.width = dice(1, 20);
    g.kernel_h = dice(1, 4);
    g.kernel_w = dice(1, 4);
    g.dilation_h = dice(0, 3) == 0 ? 2 : 1;
    g.dilation_w = dice(0, 3) == 0 ? 2 : 1;
    g.stride_h = g.stride_w = dice(0, 7) == 0 ? 2 : 1;
    (i % 2 == 0 ? g.channels : g.filters) = dice(0, 1) == 0 ? 32 : dice(1, 70);
    draw_padding(dice, 0, 2, g);
    const auto& blocks = kernels::detail::pick_blocks<parameter_t<T>>(isa);
    taken += kernels::detail::SinglePlan<parameter_t<T>>(kernels::detail::forward_correlation(g), blocks).fits ||
             kernels::detail::SinglePlan<parameter_t<T>>(kernels::detail::backward_correlation(g), blocks).fits;
    return g;
  });
  if (isa <= cpu_isa()) CHECK(taken > shapes(200) / 2);
}
TEST_CASE("convolution agrees with the plain loops, one output for each pixel") {
  for (const Isa isa : every_isa) {
    compare_single_outputs<float>(isa);
    compare_single_outputs<bfloat16>(isa);
  }
  compare_single_outputs<double>(Isa::portable);
}
/// Padding that fills strips of weight gradients whole.
TEST_CASE("convolution agrees with the plain loops, padded windows of one pixel over large images") {
  for (const Isa isa : every_isa) {
    compare_with_reference<bfloat16>(isa, 3, [&](Dice& dice, int) {
      ConvGeometry g;
      g.batch = dice(8, 9);
      g.height = dice(2, 3);
      g.width = dice(60, 70);
      g.channels = 16 * dice(7, 9);
      g.filters = 16 * dice(8, 9);
      g.pad_top = g.pad_bottom = dice(1, 2);
      return g;
    });
  }
}
#if MIEN_HAS_X86_KERNELS
TEST_CASE("convolution agrees with the plain loops, AVX-512 BF16, gray images") {
  compare_with_reference<bfloat16>(Isa::avx512_bf16, shapes(200), [](Dice& dice, int) {
    ConvGeometry g;
    g.batch = dice(1, 19);
    g.height = dice(3, 14);
    g.width = dice(3, 14);
    g.filters = 32 * dice(1, 3);
    g.kernel_h = g.kernel_w = 3;
    for (index_t* pad : {&g.pad_top, &g.pad_left, &g.pad_bottom, &g.pad_right}) *pad = dice(0, 3);
    CHECK(kernels::detail::takes_gray_dots(g, Isa::avx512_bf16));
    return g;
  });
}
#endif
TEST_CASE("convolution agrees with the plain loops, AMX") {
  compare_with_reference<float>(Isa::amx, shapes(240));
  compare_with_reference<bfloat16>(Isa::amx, shapes(400));
}

#if MIEN_HAS_X86_KERNELS
TEST_CASE("convolution agrees with the plain loops, AMX, rows of images side by side") {
  namespace amx = kernels::detail::amx;
  int several = 0;
  compare_with_reference<bfloat16>(Isa::amx, shapes(200), [&](Dice& dice, int i) {
    constexpr index_t widths[] = {20, 22, 15, 21, 43};
    ConvGeometry g;
    g.batch = dice(1, 9);
    g.height = dice(8, 11);
    g.width = widths[i % 5];
    g.channels = 32 * dice(1, 2);
    g.filters = dice(1, 70);
    g.kernel_h = g.kernel_w = 3;
    g.pad_top = dice(0, 2);
    g.pad_bottom = dice(0, 2);
    g.pad_left = 1;
    g.pad_right = 1;
    const amx::TilePlan plan(kernels::detail::forward_correlation(g), amx::Products::tiles);
    several += plan.source == amx::RowSource::lines && plan.images > 1;
    return g;
  });
  if (cpu_isa() >= Isa::amx) CHECK(several > 3);
}

TEST_CASE("convolution agrees with the plain loops, AMX, few and large images, whose weight gradients take no tiles") {
  compare_with_reference<bfloat16>(Isa::amx, 3, [](Dice& dice, int) {
    ConvGeometry g;
    g.batch = dice(6, 7);
    g.height = g.width = dice(30, 33);
    g.channels = 16 * dice(1, 2);
    g.filters = 16 * dice(1, 3);
    g.kernel_h = g.kernel_w = 3;
    g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = dice(0, 1);
    CHECK(!kernels::detail::amx::has_tile_gradients(g));
    CHECK(kernels::detail::WinogradGradientPlan(g, kernels::detail::pick_blocks<float>(Isa::amx)).fits);
    return g;
  });
}

TEST_CASE("convolution agrees with the plain loops, AMX, unpadded images read where they stand") {
  namespace amx = kernels::detail::amx;
  const auto unpadded = [](index_t width, Dice& dice) {
    ConvGeometry g;
    g.batch = dice(2, 5);
    g.height = dice(10, 14);
    g.width = width;
    g.channels = 32 * dice(1, 3);
    g.filters = dice(1, 70);
    g.kernel_h = g.kernel_w = 3;
    const amx::TilePlan plan(kernels::detail::forward_correlation(g), amx::Products::tiles);
    CHECK(plan.source == amx::RowSource::lines);
    CHECK(plan.images == 1);
    return g;
  };
  constexpr index_t widths[] = {18, 17, 34, 46, 50};
  compare_with_reference<bfloat16>(Isa::amx, shapes(200),
                                   [&](Dice& dice, int i) { return unpadded(widths[i % 5], dice); });
  if (cpu_isa() < Isa::amx) return;
  // Tiles read on into the next image: what stands there must not show.
  Dice dice{7};
  const ConvGeometry g = unpadded(46, dice);
  auto x = random_values<bfloat16>(dice, g.input_size());
  const auto w = random_values<float>(dice, g.weight_size());
  const auto forward = [&] {
    std::vector<bfloat16> y(static_cast<std::size_t>(g.output_size()));
    Scratch scratch(conv2d_scratch_bytes<bfloat16>(ConvPass::forward, g, 1, Isa::amx));
    conv2d_forward<bfloat16, float>(g, x.data(), w.data(), nullptr, y.data(), scratch.data(), Threads(1), Isa::amx);
    y.resize(y.size() / static_cast<std::size_t>(g.batch));  // the first image's
    return y;
  };
  const auto before = forward();
  std::fill(x.begin() + g.input_size() / g.batch, x.end(), bfloat16(std::numeric_limits<float>::quiet_NaN()));
  const auto after = forward();
  CHECK(std::memcmp(before.data(), after.data(), before.size() * sizeof(bfloat16)) == 0);
}

TEST_CASE("results that are streamed past the caches are those of others") {
  if (cpu_isa() < Isa::amx) {
    MESSAGE("skipped: this machine has no amx");
    return;
  }
  for (const index_t width : {22, 44}) {
    ConvGeometry g;
    g.batch = width == 22 ? 71 : 17;
    g.height = g.width = width;
    g.channels = g.filters = 32;
    g.kernel_h = g.kernel_w = 3;
    g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = 1;
    Dice dice{5};
    const auto x = random_values<bfloat16>(dice, g.input_size());
    const auto w = random_values<float>(dice, g.weight_size());
    // Only rows that begin with a line of the cache are streamed.
    Tensor<bfloat16> aligned(Shape{g.output_size()}), apart(Shape{g.output_size() + 16});
    REQUIRE(g.output_size() * 2 >= kernels::detail::amx::TilePiece::streamed);
    for (const int count : {1, 3}) {
      const Threads threads(count);
      for (bfloat16* y : {aligned.data(), apart.data() + 16}) {
        Scratch scratch(conv2d_scratch_bytes<bfloat16>(ConvPass::forward, g, count, Isa::amx));
        std::fill(y, y + g.output_size(), bfloat16(7));
        conv2d_forward<bfloat16, float>(g, x.data(), w.data(), nullptr, y, scratch.data(), threads, Isa::amx);
      }
      CHECK(std::memcmp(aligned.data(), apart.data() + 16, static_cast<std::size_t>(g.output_size()) * 2) == 0);
      CHECK(std::count(aligned.begin(), aligned.end(), bfloat16(7)) < g.output_size() / 100);
    }
  }
}
#endif

/// What the layers of an epilogue make of y, one after the other.
template <class T, class P>
std::vector<T> layer_by_layer(const ConvGeometry& g, const Epilogue<P>& epilogue, std::vector<T> y) {
  if (epilogue.scale != nullptr) {
    scale_shift<false>(g.output_size() / g.filters, g.filters, y.data(), epilogue.scale, epilogue.shift, y.data(),
                       Threads(1));
  }
  for (T& value : y)
    if (epilogue.relu && P(value) <= 0) value = T(P{0});
  if (!epilogue.pool) return y;
  const index_t height = g.out_height(), width = g.out_width();
  std::vector<T> pooled;
  for (index_t n = 0; n < g.batch; ++n)
    for (index_t i = 0; i < height; i += 2)
      for (index_t j = 0; j < width; j += 2)
        for (index_t k = 0; k < g.filters; ++k) {
          const auto at = [&](index_t r, index_t c) {
            return y[static_cast<std::size_t>(((n * height + i + r) * width + j + c) * g.filters + k)];
          };
          pooled.push_back(std::max({at(0, 0), at(0, 1), at(1, 0), at(1, 1)}));
        }
  return pooled;
}

struct EpilogueShape {
  const char* name;
  index_t batch, side, channels, filters, kernel, padding;
  bool pools;  // where Winograd's way is
  index_t groups = 1, stride = 1, dilation = 1;
};
constexpr EpilogueShape epilogue_shapes[] = {{"gray", 2, 20, 1, 32, 3, 1, false},
                                             {"gray, bf16 by rows", 1, 21, 1, 48, 3, 0, false},
                                             {"tiles of 4", 1, 46, 32, 64, 3, 0, true},
                                             {"tiles of 4, the last ones in part", 3, 22, 16, 48, 3, 1, true},
                                             {"tiles of 4, odd", 6, 15, 16, 16, 3, 1, false},
                                             {"tiles of 3", 1, 21, 32, 64, 3, 1, false},
                                             {"rows of pixels", 1, 8, 24, 40, 3, 0, false},
                                             {"filters left over", 2, 12, 7, 21, 3, 1, false},
                                             {"images side by side", 40, 4, 60, 32, 3, 1, false},
                                             {"tiles of 4, one an image", 40, 4, 64, 32, 3, 1, true},
                                             {"dot products", 2, 1, 200, 100, 1, 0, false},
                                             {"few pixels", 7, 1, 200, 100, 1, 0, false},
                                             {"many pixels", 130, 1, 64, 21, 1, 0, false},
                                             {"groups", 2, 10, 12, 40, 3, 1, false, 2},
                                             {"each channel by itself", 1, 9, 24, 24, 3, 1, false, 24},
                                             {"stride", 3, 13, 16, 32, 3, 1, false, 1, 2},
                                             {"dilation", 1, 14, 16, 32, 3, 2, false, 1, 1, 2},
                                             {"pixels of images", 2, 12, 32, 48, 1, 0, false}};

/// Results of every way with every epilogue are those of the layers, to the bit; ways are taken where they should.
template <class T>
void compare_epilogues(Isa isa) {
  using P = parameter_t<T>;
  if (isa > cpu_isa()) {
    MESSAGE("skipped: this machine has no " << to_string(isa));
    return;
  }
  Dice dice{7 + static_cast<std::uint64_t>(isa)};
  for (const EpilogueShape& shape : epilogue_shapes) {
    ConvGeometry g;
    g.batch = shape.batch;
    g.height = g.width = shape.side;
    if (shape.side == 1) std::swap(g.batch, g.width);  // as Dense has them
    g.channels = shape.channels;
    g.filters = shape.filters;
    g.kernel_h = g.kernel_w = shape.kernel;
    g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = shape.padding;
    g.groups = shape.groups;
    g.stride_h = g.stride_w = shape.stride;
    g.dilation_h = g.dilation_w = shape.dilation;
    const auto w = random_values<P>(dice, g.weight_size());
    // One value behind where it is aligned, as users may have it.
    auto scales = random_values<P>(dice, g.filters + 1), shifts = random_values<P>(dice, g.filters + 1);
    const P *scale = scales.data() + 1, *shift = shifts.data() + 1;
    const auto biases = random_values<P>(dice, g.filters);
    const P* b = shape.stride > 1 ? nullptr : biases.data();
    const bool even = g.out_height() % 2 == 0 && g.out_width() % 2 == 0;
    for (const bool finite : {true, false}) {
      auto x = random_values<T>(dice, g.input_size());
      if (!finite) x[x.size() / 2] = T(std::numeric_limits<P>::quiet_NaN());
      Scratch memory(conv2d_scratch_bytes<T>(ConvPass::forward, g, 3, isa));
      std::vector<T> plain(static_cast<std::size_t>(g.output_size()));
      conv2d_forward<T>(g, x.data(), w.data(), b, plain.data(), memory.data(), Threads(3), isa);
      for (const int kind : {1, 2, 3, 5, 7}) {  // relu, scale, both, relu and pooling, all
        Epilogue<P> epilogue;
        epilogue.relu = (kind & 1) != 0;
        if ((kind & 2) != 0) epilogue.scale = scale, epilogue.shift = shift;
        epilogue.pool = (kind & 4) != 0;
        if (epilogue.pool && !even) continue;
        // Whether product and sum are rounded once or twice is that of the loops for cpu_isa().
        if (epilogue.scale != nullptr && isa != cpu_isa()) continue;
        const std::string where = std::string(shape.name) + ", " + std::string(to_string(isa)) + ", epilogue " +
                                  std::to_string(kind) + (finite ? "" : ", NaN");
        CAPTURE(where);
        const bool rounds = !std::is_same_v<T, P>;
        const bool expected = conv2d_infers<T>(epilogue.scale != nullptr) &&
                              (!epilogue.pool || (shape.pools && std::is_same_v<P, float> && isa >= Isa::avx2 &&
                                                  !(rounds && isa == Isa::amx)));
        CHECK(conv2d_infers<T>(false));
        CHECK(conv2d_infers<T>(true) == !rounds);
        const std::vector<T> truth = expected ? layer_by_layer(g, epilogue, plain) : std::vector<T>{};
        for (const int count : {1, 2, 3}) {
          std::vector<T> y(truth.size());
          const bool taken = conv2d_infer<T>(g, x.data(), w.data(), b, epilogue, expected ? y.data() : nullptr,
                                             memory.data(), Threads(count), isa);
          if (finite) CHECK(taken == expected);
          if (taken && finite) CHECK(same_bytes(y, truth));
          if (taken && !finite) CHECK(kinds(y) == kinds(truth));
        }
        CHECK(memory.intact());
      }
    }
  }
}

TEST_CASE("convolution with what follows it gives what the layers give") {
  for (const Isa isa : every_isa) {
    compare_epilogues<float>(isa);
    compare_epilogues<double>(isa);
    compare_epilogues<bfloat16>(isa);
  }
}

/// A single image, gray or not, and a dense layer, on machines of many processors.
template <class T>
void check_idle_threads_take_no_memory() {
  const index_t shapes[][3] = {{48, 1, 32}, {22, 32, 64}, {11, 24, 40}, {1, 512, 100}};  // side, channels, filters
  for (const Isa isa : every_isa)
    for (const auto& [side, channels, filters] : shapes)
      for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights}) {
        ConvGeometry g;
        g.height = g.width = side;
        g.channels = channels;
        g.filters = filters;
        if (side > 1) g.kernel_h = g.kernel_w = 3;
        const std::string where = text(g) + std::string(to_string(isa));
        CAPTURE(where);
        const std::size_t few = conv2d_scratch_bytes<T>(pass, g, 64, isa);
        CHECK(conv2d_scratch_bytes<T>(pass, g, 1024, isa) == few);
      }
}

TEST_CASE("threads that find no piece of work take no memory") {
  check_idle_threads_take_no_memory<float>();
  check_idle_threads_take_no_memory<double>();
  check_idle_threads_take_no_memory<bfloat16>();
}

TEST_CASE("convolution: a weight that bfloat16 rounds to infinity leaves padding alone") {
  for (const Isa isa : every_isa) {
    if (isa > cpu_isa()) continue;
    for (const auto& [batch, side, channels] :
         {std::array<index_t, 3>{1, 5, 32}, {20, 5, 32}, {2, 22, 32}, {3, 9, 8}}) {
      ConvGeometry g;
      g.batch = batch;
      g.height = g.width = side;
      g.channels = channels;
      g.filters = 32;
      g.kernel_h = g.kernel_w = 3;
      g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = 1;
      Tensor<bfloat16> x(Shape{g.input_size()}), y(Shape{g.output_size()}), plain(Shape{g.output_size()});
      Tensor<float> w(Shape{g.weight_size()});
      for (bfloat16& value : x) value = bfloat16(1.0f);
      w[0] = 3.4e38f;
      Scratch scratch(conv2d_scratch_bytes<bfloat16>(ConvPass::forward, g, 1, isa));
      const float* no_bias = nullptr;
      conv2d_forward<bfloat16>(g, x.data(), w.data(), no_bias, y.data(), scratch.data(), Threads(1), isa);
      reference::conv2d_forward<bfloat16>(g, x.data(), w.data(), no_bias, plain.data());
      INFO(to_string(isa) << ", " << batch << " of " << side << "x" << side << ", " << channels << " channels");
      index_t wrong = 0;
      for (index_t i = 0; i < y.size(); ++i) wrong += static_cast<float>(y[i]) != static_cast<float>(plain[i]);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("convolution passes NaN and infinity on as the plain loops do") {
  for (const Isa isa : every_isa) {
    compare_special_values<float>(isa);
    compare_special_values<bfloat16>(isa);
  }
  compare_special_values<double>(Isa::portable);
}

TEST_CASE("convolution in bfloat16: what overflows as it is rounded is infinite, as in the plain loops") {
  for (const Isa isa : every_isa) compare_overflow_in_rounding(isa);
}
