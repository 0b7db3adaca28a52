// AnyLayer: a layer of any type, by value.
// IWYU pragma: private, include "mien/nn/sequential.hpp"
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mien/nn/layer.hpp"

namespace mien {

template <class T>
class Sequential;
struct Relu;
struct MaxPool2d;

namespace detail {

template <class T>
struct LayerInterface;

/// What a layer says of itself by constants and types, and functions that few layers have: see AnyLayer's of these
/// names.
template <class T>
struct Traits {
  std::string_view kind;
  bool is_random = false;
  bool is_relu = false;
  bool fuses_relu = false;
  bool fuses_pool = false;
  bool ignores_output = false;
  bool overwrites_input = false;
  bool infers_identity = false;
  bool infers = false, infers_scales = false;
  bool (*halves)(const LayerInterface<T>&, const Shape&) = nullptr;
  void (*infer_map)(const LayerInterface<T>&, const Pass<T>&, parameter_t<T>*, parameter_t<T>*) = nullptr;
  bool (*infer)(const LayerInterface<T>&, TensorView<const T>, TensorView<T>, const Pass<T>&,
                const kernels::Epilogue<parameter_t<T>>&) = nullptr;
};

/// What AnyLayer holds. Not nested in it: compilers differ in whether `extern template class AnyLayer` then promises
/// its table of virtual functions elsewhere.
template <class T>
struct LayerInterface {
  explicit LayerInterface(const Traits<T>& t) : traits(t) {}
  virtual ~LayerInterface() = default;
  virtual std::unique_ptr<LayerInterface> clone() const = 0;
  virtual Features setup(const Features&, Setup&) = 0;
  virtual Memory memory(const Shape&, const Shape&, int, bool) const = 0;
  virtual void forward(TensorView<const T>, TensorView<T>, const Pass<T>&) const = 0;
  virtual void backward(TensorView<const T>, TensorView<const T>, TensorView<const T>, TensorView<T>, Gradients<T>,
                        const Pass<T>&) const = 0;
  virtual void describe(Describer&) = 0;
  virtual std::vector<std::pair<std::string, Sequential<T>*>> branches() = 0;

  const Traits<T>& traits;  // of its type
};

}  // namespace detail

/// A layer of any type, by value.
template <class T>
class AnyLayer {
 public:
  template <class L>
  requires(!std::same_as<L, AnyLayer> && Layer<L, T>) explicit AnyLayer(L layer)
      : self_(std::make_unique<Model<L>>(std::move(layer))) {}
  AnyLayer(const AnyLayer& other);
  AnyLayer(AnyLayer&&) noexcept = default;
  AnyLayer& operator=(AnyLayer other) noexcept {
    std::swap(self_, other.self_);
    return *this;
  }

  std::string_view kind() const { return self_->traits.kind; }
  Features setup(const Features& input, Setup& setup) { return self_->setup(input, setup); }
  Memory memory(const Shape& x, const Shape& y, int threads, bool keep) const {
    return self_->memory(x, y, threads, keep);
  }
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const { self_->forward(x, y, pass); }
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>& pass) const {
    self_->backward(x, y, dy, dx, gradients, pass);
  }
  void describe(Describer& describer) { self_->describe(describer); }
  /// Whether its training outputs are random.
  bool is_random() const { return self_->traits.is_random; }
  /// Whether it is a Relu, and none with a forward of its own.
  bool is_relu() const { return self_->traits.is_relu; }
  /// Whether it applies a Relu behind it by itself when asked to.
  bool fuses_relu() const { return self_->traits.fuses_relu; }
  /// Whether it applies a Relu and a max pooling of 2x2 behind it by itself when asked to.
  bool fuses_pool() const { return self_->traits.fuses_pool; }
  /// Whether its backward pass never reads what y holds.
  bool ignores_output() const { return self_->traits.ignores_output; }
  /// Whether its backward pass may be given a dx that is x.
  bool overwrites_input() const { return self_->traits.overwrites_input; }
  /// Whether it is such a pooling for x, and none with a forward of its own.
  bool halves(const Shape& x) const { return self_->traits.halves != nullptr && self_->traits.halves(*self_, x); }
  /// Whether in inference y is x, of another shape or not.
  bool infers_identity() const { return self_->traits.infers_identity; }
  /// Whether in inference y = x * scale[c] + shift[c] per channel, and what these are.
  bool has_infer_map() const { return self_->traits.infer_map != nullptr; }
  void infer_map(const Pass<T>& pass, parameter_t<T>* scale, parameter_t<T>* shift) const {
    self_->traits.infer_map(*self_, pass, scale, shift);
  }
  /// Whether it may do in inference what an epilogue says (`scales`: one with scales), and, where it may, doing it:
  /// false, with y in any state, where it cannot after all.
  bool infers(bool scales) const { return scales ? self_->traits.infers_scales : self_->traits.infers; }
  bool infer(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass,
             const kernels::Epilogue<parameter_t<T>>& epilogue) const {
    return self_->traits.infer(*self_, x, y, pass, epilogue);
  }
  /// The inner chains of a combinator with their names ("" for none), in the order in which it sets them up; empty for
  /// other layers. A combinator has no parameters but those of its chains.
  std::vector<std::pair<std::string, Sequential<T>*>> branches() { return self_->branches(); }

 private:
  using Interface = detail::LayerInterface<T>;
  using Traits = detail::Traits<T>;

  template <class L>
  struct Model final : Interface {
    explicit Model(L l) : Interface(traits_of_type), layer(std::move(l)) {}
    std::unique_ptr<Interface> clone() const override { return std::make_unique<Model>(layer); }
    Features setup(const Features& input, Setup& setup) override { return layer.setup(input, setup); }
    Memory memory(const Shape& x, const Shape& y, int threads, bool keep) const override {
      return layer.template memory<T>(x, y, threads, keep);
    }
    void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const override {
      layer.template forward<T>(x, y, pass);
    }
    void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                  Gradients<T> gradients, const Pass<T>& pass) const override {
      layer.template backward<T>(x, y, dy, dx, gradients, pass);
    }
    void describe(Describer& describer) override { layer.describe(describer); }
    /// A type derived from a layer may have a forward of its own.
    static constexpr bool has_inference = requires { requires std::same_as<typename L::Inference, L>; };
    static constexpr bool maps = has_inference && requires(const L& l, const Pass<T>& pass, parameter_t<T>* p) {
      l.template infer_map<T>(pass, p, p);
    };
    static constexpr bool joins = has_inference && requires { L::template infers<T>(true); };
    static const L& of(const Interface& self) { return static_cast<const Model&>(self).layer; }
    static constexpr Traits find_traits() {
      Traits t{.kind = L::kind};
      if constexpr (requires { L::is_random; }) t.is_random = L::is_random;
      t.is_relu = std::same_as<L, Relu>;
      t.fuses_relu = requires { requires std::same_as<typename L::FusesRelu, L>; };
      t.fuses_pool = requires { requires std::same_as<typename L::FusesPool, L>; };
      t.ignores_output = requires { requires std::same_as<typename L::IgnoresOutput, L>; };
      t.overwrites_input = requires { requires std::same_as<typename L::OverwritesInput, L>; };
      if constexpr (has_inference && requires { L::infers_identity; }) t.infers_identity = L::infers_identity;
      if constexpr (std::same_as<L, MaxPool2d>) {
        t.halves = [](const Interface& self, const Shape& x) { return of(self).halves(x); };
      }
      if constexpr (maps) {
        t.infer_map = [](const Interface& self, const Pass<T>& pass, parameter_t<T>* scale, parameter_t<T>* shift) {
          of(self).template infer_map<T>(pass, scale, shift);
        };
      }
      if constexpr (joins) {
        t.infers = L::template infers<T>(false);
        t.infers_scales = L::template infers<T>(true);
        t.infer = [](const Interface& self, TensorView<const T> x, TensorView<T> y, const Pass<T>& pass,
                     const kernels::Epilogue<parameter_t<T>>& epilogue) {
          return of(self).template infer<T>(x, y, pass, epilogue);
        };
      }
      return t;
    }
    static constexpr Traits traits_of_type = find_traits();
    std::vector<std::pair<std::string, Sequential<T>*>> branches() override {
      if constexpr (requires { layer.branches(); }) return layer.branches();
      return {};
    }
    L layer;
  };

  std::unique_ptr<Interface> self_;
};

template <class T>
AnyLayer<T>::AnyLayer(const AnyLayer& other) : self_(other.self_->clone()) {}

}  // namespace mien
