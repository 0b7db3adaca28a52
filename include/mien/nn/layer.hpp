// The contract that every layer keeps, and what layers are given.
//
// A layer is a small copyable value holding hyper-parameters only. Its parameters live in the network, in one flat list
// (see parameter.hpp), and are handed to it; so gradients, optimizer state and averages are lists parallel to that one,
// and a network is read by any number of threads at once. A type L is a layer when it has
//
//   static constexpr std::string_view kind;                     // its name in model files: "Conv2d"
//   Features setup(const Features& input, Setup& setup) const;  // shape inference; declares the parameters
//   template <class T> Memory memory(const Shape& x, const Shape& y, int threads, bool keep) const;
//   template <class T> void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const;
//   template <class T> void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy,
//                                    TensorView<T> dx, Gradients<T> gradients, const Pass<T>& pass) const;
//   void describe(Describer& d);                                // names its hyper-parameters, for model files
//   static constexpr bool is_random = true;                      // only if it draws random numbers in training
//
// Training takes less memory and moves less of it if a layer also says (each naming L itself, so that a type derived
// from it, with a forward or backward of its own, does not inherit it; check_gradients finds out what is not true of
// the last two)
//
//   using FusesRelu = L;        // it heeds Pass::relu
//   using FusesPool = L;        // it heeds Pass::pool
//   using IgnoresOutput = L;    // backward never reads what y holds, also where Pass::relu or Pass::pool is heeded
//   using OverwritesInput = L;  // backward may be given a dx that is x: an element of x is read by the piece of work
//                               // that writes it, before that, or not at all; never for combinators
//
// In inference a Sequential may pass over a layer, or have one do the work of those behind it, if it also has
//
//   using Inference = L;                           // L itself: what follows is not inherited
//   static constexpr bool infers_identity = true;  // y is x, whatever its shape
//   template <class T> void infer_map(const Pass<T>& pass, parameter_t<T>* scale, parameter_t<T>* shift) const;
//                                                  // y = x * scale[c] + shift[c]; Memory::packed is then 0
//   template <class T> static constexpr bool infers(bool scales);  // as kernels::conv2d_infers
//   template <class T> bool infer(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass,
//                                 const kernels::Epilogue<parameter_t<T>>& epilogue) const;  // as conv2d_infer
//
// x is (batch, ...input shape), y is (batch, ...output shape). forward assigns y. backward assigns dx (unless it is
// empty: not wanted) and every gradient that is not empty. Both write nothing else but pass.saved and pass.scratch.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mien/core/tensor.hpp"
#include "mien/core/threads.hpp"
#include "mien/kernels/epilogue.hpp"
#include "mien/nn/initializer.hpp"
#include "mien/nn/parameter.hpp"

namespace mien {

/// Shape of one sample between layers, and the (height, width, channels) that a Flatten made it from, if any: a dense
/// layer's columns are permuted by it in model files.
struct Features {
  Shape shape;
  Shape flattened;
};

/// What a layer declares of one parameter.
struct Declaration {
  std::string name;
  Shape shape;
  Role role = Role::weight;
  Initializer initializer;
  index_t fan_in = 1;
  index_t fan_out = 1;
  Shape columns;
};

/// Collects the declarations of a network's layers while shapes are inferred.
class Setup {
 public:
  /// Declares a parameter of the current layer, such as {"weight", {32, 1, 3, 3}, ...}: `setup` prefixes the name.
  MIEN_COLD void parameter(Declaration declaration) {
    declaration.name = layer.empty() ? declaration.name : layer + "." + declaration.name;
    declarations.push_back(std::move(declaration));
  }

  /// Throws ShapeError naming the current layer, what it got and what it expects.
  MIEN_COLD [[noreturn]] void reject(std::string_view kind, const Shape& got, const std::string& expected) const {
    fail<ShapeError>(
        {"layer '", layer, "' (", kind, "): got input of shape ", got, " per sample, expected ", expected});
  }

  /// Throws ArgumentError naming the current layer unless `valid`.
  void require(bool valid, std::string_view kind, const std::string& message) const {
    if (!valid) fail<ArgumentError>({"layer '", layer, "' (", kind, "): ", message});
  }

  std::string layer;  ///< name of the layer being set up
  std::vector<Declaration> declarations;
  std::uint32_t streams = 0;  ///< random streams given out so far
};

/// Bytes that a layer needs: `saved` from forward to backward, `scratch` during each of them. `packed` bytes, where it
/// is given them, spare inference from arranging the parameters in every pass.
struct Memory {
  std::size_t saved = 0;
  std::size_t scratch = 0;
  std::size_t packed = 0;
};

/// `bytes` rounded up to whole cache lines.
constexpr std::size_t padded(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

/// Hands out aligned pieces of a block of bytes, in order.
class Arena {
 public:
  explicit Arena(std::span<std::byte> bytes) : bytes_(bytes) {}

  /// `count` elements of T, uninitialized. The block has been sized by memory() for what is taken from it.
  template <class T>
  T* take(index_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)).data());
  }
  template <class T>
  TensorView<T> tensor(const Shape& shape) {
    return {take<T>(shape.size()), shape};
  }
  std::span<std::byte> take_bytes(std::size_t count) {
    const std::size_t size = padded(count);
    if (size > bytes_.size()) fail<Error>("a layer took more memory than it declared: a bug in its memory()");
    const auto piece = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return piece;
  }
  std::span<std::byte> rest() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Bytes of `count` elements of T as an Arena hands them out.
template <class T>
constexpr std::size_t bytes_of(index_t count) {
  return padded(static_cast<std::size_t>(count) * sizeof(T));
}

/// Memory for a chain of layers: what one hands the next lies at one end, what that makes of it at the other, and
/// between them is room for the layer itself. So it need not be larger than the largest sum of the three.
class Ends {
 public:
  explicit Ends(std::span<std::byte> bytes) : bytes_(bytes.first(bytes.size() / alignment * alignment)) {}

  /// At the end where `x`, of this chain or from outside, does not begin.
  template <class T>
  TensorView<T> opposite(const T* x, const Shape& shape) const {
    const std::size_t size = bytes_of<T>(shape.size());
    if (size > bytes_.size()) fail<Error>("a chain of layers took more memory than it declared: a bug");
    const bool last = reinterpret_cast<const std::byte*>(x) == bytes_.data();
    return {reinterpret_cast<T*>((last ? bytes_.last(size) : bytes_.first(size)).data()), shape};
  }

  /// What these two leave, each of which may also lie elsewhere.
  template <class T>
  std::span<std::byte> between(TensorView<const T> a, TensorView<const T> b) const {
    std::size_t first = 0, last = bytes_.size();
    for (const TensorView<const T>& v : {a, b}) {
      const auto at = reinterpret_cast<std::uintptr_t>(v.data()) - reinterpret_cast<std::uintptr_t>(bytes_.data());
      if (!v || at >= bytes_.size()) continue;
      if (at == 0)
        first = bytes_of<T>(v.size());
      else
        last = at;
    }
    if (first > last) fail<Error>("a chain of layers took more memory than it declared: a bug");
    return bytes_.subspan(first, last - first);
  }

 private:
  std::span<std::byte> bytes_;
};

/// Is told every layer's output, in order; for looking inside (debugging, finding the first non-finite value).
template <class T>
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void output(std::string_view layer, std::string_view kind, TensorView<const T> y) = 0;
};

/// What is the same for all layers in one forward or backward pass through a network.
struct Context {
  const Threads* threads = nullptr;
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
  /// Unless null: set to true by a backward pass that writes over what forward saved.
  bool* overwritten = nullptr;
};

/// What a layer is given beside its inputs and outputs.
template <class T>
struct Pass {
  const Context* context = nullptr;
  /// False in inference and in frozen layers: dropout passes through, normalization uses its stored statistics.
  bool training = false;
  /// Whether a backward pass follows, for which `saved` is to be filled.
  bool keep = false;
  /// A Relu follows, which this layer is to apply itself: y is then the Relu's output and dy its gradient. Only for
  /// layers with FusesRelu.
  bool relu = false;
  /// Behind that Relu (or this layer, if it is a Relu) follows a max pooling of 2x2, which this layer is to apply too:
  /// y and dy are the pooling's, of half the height and width of x, which are even. Only for layers with FusesPool.
  bool pool = false;
  /// With `pool`, what the pooling saves (MaxPool2d): empty if nothing is kept.
  std::span<std::byte> pool_saved = {};
  /// Number of this layer's random stream.
  std::uint32_t stream = 0;
  /// This layer's parameters, in the order in which setup declared them.
  std::span<const TensorView<const parameter_t<T>>> parameters;
  std::span<std::byte> saved;
  std::span<std::byte> scratch;
  /// Empty, or Memory::packed bytes: to be filled, or filled by an earlier pass of the same batch (packed_ready).
  std::span<std::byte> packed;
  bool packed_ready = false;
  Observer<T>* observer = nullptr;

  const Threads& threads() const { return *context->threads; }
  /// pool_saved as MaxPool2d has it: which cell of each window won. Null if nothing is kept.
  std::uint16_t* pool_positions() const {
    return pool_saved.empty() ? nullptr : reinterpret_cast<std::uint16_t*>(pool_saved.data());
  }
  /// This layer's random numbers for this step.
  Random random() const { return {context->seed, static_cast<std::uint32_t>(Stream::layers) + stream, context->step}; }
};

/// Where gradients go, parallel to Pass::parameters: an empty view says that none is wanted.
template <class T>
using Gradients = std::span<const TensorView<parameter_t<T>>>;

/// Height and width, from one number or two.
struct Extent2 {
  index_t height = 1;
  index_t width = 1;
  constexpr Extent2() = default;
  constexpr Extent2(index_t side) : height(side), width(side) {}
  constexpr Extent2(index_t h, index_t w) : height(h), width(w) {}
};

/// Padding per side, from one number, (vertical, horizontal), or (top, left, bottom, right).
struct Padding {
  index_t top = 0, left = 0, bottom = 0, right = 0;
  constexpr Padding() = default;
  constexpr Padding(index_t all) : top(all), left(all), bottom(all), right(all) {}
  constexpr Padding(index_t vertical, index_t horizontal)
      : top(vertical), left(horizontal), bottom(vertical), right(horizontal) {}
  constexpr Padding(index_t t, index_t l, index_t b, index_t r) : top(t), left(l), bottom(b), right(r) {}
};

/// Reads or writes hyper-parameters by name; model files implement it.
class Describer {
 public:
  virtual ~Describer() = default;
  virtual void value(std::string_view name, index_t& number) = 0;
  virtual void value(std::string_view name, float& number) = 0;
  virtual void value(std::string_view name, bool& flag) = 0;
  MIEN_COLD void value(std::string_view name, Extent2& extent) {
    value(std::string(name) + "_height", extent.height);
    value(std::string(name) + "_width", extent.width);
  }
  MIEN_COLD void value(std::string_view name, Padding& padding) {
    value(std::string(name) + "_top", padding.top);
    value(std::string(name) + "_left", padding.left);
    value(std::string(name) + "_bottom", padding.bottom);
    value(std::string(name) + "_right", padding.right);
  }
};

/// The contract above, for scalar T.
template <class L, class T>
concept Layer = std::copyable<L> && requires(L layer, const L constant, const Features& input, Setup& setup,
                                             const Shape& shape, const Pass<T>& pass, Describer& describer) {
  { L::kind } -> std::convertible_to<std::string_view>;
  { layer.setup(input, setup) } -> std::same_as<Features>;
  { constant.template memory<T>(shape, shape, 1, true) } -> std::same_as<Memory>;
  constant.template forward<T>(TensorView<const T>{}, TensorView<T>{}, pass);
  constant.template backward<T>(TensorView<const T>{}, TensorView<const T>{}, TensorView<const T>{}, TensorView<T>{},
                                Gradients<T>{}, pass);
  layer.describe(describer);
};

}  // namespace mien
