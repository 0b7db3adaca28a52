// Sequential: definitions for mien/nn/sequential.hpp. Not in the class, where compilers would take every function for
// one to be inlined and compile it wherever it is called, mien::precompiled or not. Private.
#pragma once

#include <algorithm>

#include "mien/core/sorting.hpp"
#include "mien/nn/sequential.hpp"

namespace mien {

template <class T>
MIEN_COLD Sequential<T>::Sequential(const Sequential&) = default;

template <class T>
Sequential<T>::Sequential(Sequential&& other) noexcept
    : nodes_(std::move(other.nodes_)),
      input_(std::exchange(other.input_, Shape{})),
      parameters_(std::move(other.parameters_)),
      shapes_(std::move(other.shapes_)),
      top_level_(std::exchange(other.top_level_, 0)) {}

template <class T>
Sequential<T>& Sequential<T>::operator=(Sequential other) noexcept {
  nodes_ = std::move(other.nodes_);
  input_ = other.input_;
  parameters_ = std::move(other.parameters_);
  shapes_ = std::move(other.shapes_);
  top_level_ = other.top_level_;
  return *this;
}

template <class T>
Sequential<T>::~Sequential() = default;

template <class T>
std::string Sequential<T>::next_name() const {
  return std::to_string(top_level_);
}

template <class T>
MIEN_COLD void Sequential<T>::check_name(const std::string& name) const {
  if (name.empty()) fail<ArgumentError>("a layer needs a name");
  if (built()) fail<ArgumentError>({"layer '", name, "' added to a network that is already built"});
  for (const Node& node : nodes_) {
    if (covers(name, node.name) || covers(node.name, name)) fail<ArgumentError>({"two layers named '", name, "'"});
  }
}

template <class T>
MIEN_COLD void Sequential<T>::append(const std::string& name, AnyLayer<T> layer) {
  check_name(name);
  nodes_.push_back({name, std::move(layer)});
  ++top_level_;
}

template <class T>
MIEN_COLD void Sequential<T>::splice(const std::string& name, const Sequential& chain) {
  check_name(name);
  const std::vector<Node> nodes = chain.nodes_;  // which may be this one
  for (const Node& node : nodes) nodes_.push_back({name + "." + node.name, node.layer});
  ++top_level_;
}

template <class T>
MIEN_COLD Shape Sequential<T>::build(const Shape& input, std::uint64_t seed) {
  if (nodes_.empty()) fail<ArgumentError>("a network needs at least one layer");
  if (input.rank() < 1 || input.rank() >= Shape::max_rank || input.size() < 1) {
    fail<ShapeError>({"a network is built for samples of rank 1 to 4 with positive extents, got ", input});
  }
  Sequential result;
  result.nodes_ = nodes_;
  result.top_level_ = top_level_;
  Setup setup;
  const Features output = result.setup({input, {}}, setup);
  check_names(setup.declarations);
  for (std::size_t i = 0; i < setup.declarations.size(); ++i) {
    const Declaration& d = setup.declarations[i];
    result.parameters_.push_back({d.name, d.role, d.columns, false, Tensor<P>(d.shape)});
    result.shapes_.push_back(d.shape);
    d.initializer.fill(result.parameters_.back().value.view(), d.fan_in, d.fan_out, {seed, Stream::initialize, i});
  }
  result.input_ = input;
  *this = std::move(result);
  return output.shape;
}

template <class T>
Parameter<parameter_t<T>>& Sequential<T>::parameter(std::string_view name) {
  for (Parameter<P>& p : parameters_)
    if (p.name == name) return p;
  fail<ArgumentError>({"the network has no parameter '", name, "'"});
}

template <class T>
index_t Sequential<T>::parameter_count() const {
  index_t count = 0;
  for (const Parameter<P>& p : parameters_) count += p.role == Role::statistic ? 0 : p.value.size();
  return count;
}

template <class T>
MIEN_COLD index_t Sequential<T>::frozen_prefix() const {
  index_t i = 0;
  while (i < layer_count() && is_fixed(node(i))) ++i;
  return i;
}

template <class T>
MIEN_COLD std::vector<std::string> Sequential<T>::frozen_names() const {
  std::vector<std::string> names;
  for (const Node& n : nodes_) collect_frozen(n, names);
  for (const Parameter<P>& p : parameters_) {
    bool covered = false;
    for (const std::string& name : names) covered = covered || covers(name, p.name);
    if (p.frozen && !covered) names.push_back(p.name);
  }
  return names;
}

template <class T>
void Sequential<T>::infer(TensorView<const T> x, TensorView<T> y, Workspace& workspace, Range range,
                          Observer<T>* observer) const {
  check(x.shape(), y.shape(), range);
  if (x.shape()[0] == 0) return;
  workspace.reserve(pass_memory(x.shape(), workspace, false, range));
  const Context context{&workspace.threads()};
  run_forward(x, y, pass(workspace, context, false, observer), range);
}

template <class T>
void Sequential<T>::infer_packed(TensorView<const T> x, TensorView<T> y, Workspace& workspace,
                                 std::span<std::byte> packed, bool ready) const {
  check(x.shape(), y.shape(), {});
  if (x.shape()[0] == 0) return;
  const Memory memory = pass_memory(x.shape(), workspace, false, {});
  if (packed.size() < memory.packed) fail<ArgumentError>("infer_packed: too little memory is given");
  workspace.reserve(memory);
  const Context context{&workspace.threads()};
  Pass<T> whole = pass(workspace, context, false, nullptr);
  whole.packed = packed;
  whole.packed_ready = ready;
  run_forward(x, y, whole);
}

template <class T>
Tensor<T> Sequential<T>::infer(TensorView<const T> x, Workspace& workspace) const {
  if (!built() || x.shape().rank() == 0) check(x.shape(), x.shape(), {});
  Tensor<T> y(output_shape().with_batch(x.shape()[0]));
  infer(x, y.view(), workspace);
  return y;
}

template <class T>
void Sequential<T>::forward(TensorView<const T> x, TensorView<T> y, Workspace& workspace, std::uint64_t seed,
                            std::uint64_t step, Range range, Observer<T>* observer) const {
  check(x.shape(), y.shape(), range);
  if (x.shape()[0] == 0) fail<ShapeError>("training needs at least one sample");
  Memory memory = pass_memory(x.shape(), workspace, true, range);
  // What an observer sees and no backward pass needs passes through the scratch memory.
  if (observer != nullptr) memory.scratch += 2 * bytes_of<T>(x.shape()[0] * largest_output(range));
  workspace.kept_ = {};
  workspace.reserve(memory);
  const Context context{&workspace.threads(), seed, step};
  run_forward(x, y, pass(workspace, context, true, observer), range);
  workspace.kept_ = {this, x.shape(), range.first, end_of(range)};
}

template <class T>
void Sequential<T>::backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                             Gradients<T> gradients, Workspace& workspace, std::uint64_t seed, std::uint64_t step,
                             Range range) const {
  check(x.shape(), y.shape(), range);
  check_backward(x.shape(), y.shape(), dy.shape(), dx ? dx.shape() : x.shape(), gradients);
  const Workspace::Kept kept{this, x.shape(), range.first, end_of(range)};
  // Another network may have been assigned to this one since.
  const Memory needed = pass_memory(x.shape(), workspace, true, range);
  if (workspace.kept_ != kept || workspace.saved().size() < needed.saved ||
      workspace.scratch().size() < needed.scratch) {
    fail<ArgumentError>(
        "call forward before every backward, of this network and batch and with this workspace: there was none, it did "
        "not come to its end, or what it saved has been written over");
  }
  bool overwritten = false;
  const Context context{&workspace.threads(), seed, step, &overwritten};
  const Pass<T> whole = pass(workspace, context, true, nullptr);
  workspace.kept_ = {};
  run_backward(x, y, dy, dx, gradients, whole, range);
  if (!overwritten) workspace.kept_ = kept;
}

template <class T>
MIEN_COLD Features Sequential<T>::setup(Features features, Setup& setup) {
  const std::string outer = setup.layer;
  const std::size_t base = setup.declarations.size();
  for (Node& n : nodes_) {
    setup.layer = outer.empty() ? n.name : outer + "." + n.name;
    n.full_name = setup.layer;
    n.frozen = n.frozen_statistics = false;
    n.stream = setup.streams++;
    n.first_parameter = setup.declarations.size() - base;
    features = n.layer.setup(features, setup);
    n.parameter_count = setup.declarations.size() - base - n.first_parameter;
    n.output = features;
  }
  setup.layer = outer;
  return features;
}

template <class T>
MIEN_COLD Memory Sequential<T>::memory_of(const Shape& x, int threads, bool keep, Range range) const {
  Memory total;
  Shape in = x;
  const index_t last = end_of(range);
  for (index_t i = range.first; i < last; ++i) {
    const Shape out = node(i).output.shape.with_batch(x[0]);
    const Memory m = node(i).layer.memory(in, out, threads, keep);
    total.saved += keep ? padded(m.saved) + (keeps_output(i, range.first, last) ? bytes_of<T>(out.size()) : 0) : 0;
    total.packed += padded(m.packed);
    std::size_t scratch = padded(m.scratch) + (keep ? 0 : padded(m.saved));
    // infer_with() holds a normalization's scales and shifts beside.
    if (!keep && i + 1 < last && node(i + 1).layer.has_infer_map()) scratch += 2 * bytes_of<P>(out.back());
    if (!keep) {
      // What comes from the layer before and goes to the next.
      if (i > range.first) scratch += bytes_of<T>(in.size());
      if (i + 1 < last) scratch += bytes_of<T>(out.size());
    } else if (applied(i, range.first, last) == 0) {
      // Their gradients, where these do not lie in what is saved.
      const index_t end = i + applies(i, last).count();
      if (i > range.first && !overwrites(i, range.first, last)) scratch += bytes_of<T>(in.size());
      if (end + 1 < last && !overwrites(end + 1, range.first, last)) {
        scratch += bytes_of<T>(node(end).output.shape.with_batch(x[0]).size());
      }
    }
    total.scratch = std::max(total.scratch, scratch);
    in = out;
  }
  return total;
}

template <class T>
MIEN_COLD void Sequential<T>::run_forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass,
                                          Range range) const {
  Arena saved(pass.saved), packed(pass.packed);
  const Ends ends(pass.scratch);
  const index_t batch = x.shape()[0], last = end_of(range);
  if (range.first == last) std::copy_n(x.data(), x.size(), y.data());
  for (index_t i = range.first; i < last; ++i) {
    const Node& n = node(i);
    TensorView<T> out = y;
    const Shape shape = n.output.shape.with_batch(batch);
    const bool alone = pass.keep || pass.observer;
    if (!alone && i + 1 < last && n.layer.infers_identity()) {
      x = {x.data(), shape};
      continue;
    }
    if (pass.keep && keeps_output(i, range.first, last)) {
      out = saved.tensor<T>(shape);
    } else if (i + 1 < last && (!pass.keep || pass.observer)) {
      out = ends.opposite(x.data(), shape);
    }
    const Memory m = n.layer.memory(x.shape(), shape, pass.threads().count(), pass.keep);
    Arena rest(ends.between<T>(x, out));
    const auto kept = pass.keep ? saved.take_bytes(m.saved) : rest.take_bytes(m.saved);
    Pass<T> own = inner(pass, n, kept, rest.rest());
    if (!pass.packed.empty()) own.packed = packed.take_bytes(m.packed).first(m.packed);
    if (const index_t behind = alone ? 0 : inferred_behind(i, last); behind > 0) {
      TensorView<T> end = y;
      if (i + behind + 1 < last) end = ends.opposite(x.data(), node(i + behind).output.shape.with_batch(batch));
      if (infer_with(i, behind, x, end, own, pass)) {
        i += behind;
        x = end;
        continue;
      }
    }
    // An observer wants to see every layer's output, kept or not.
    const Applied others = pass.observer ? Applied{} : applies(i, last);
    own.relu = others.relu;
    own.pool = others.pool;
    if (others.count() > 0) {
      // The last one's output is written at once; what would lie between them is never touched.
      i += others.count();
      const Shape end = node(i).output.shape.with_batch(batch);
      out = i + 1 == last ? y : pass.keep ? saved.tensor<T>(end) : ends.opposite(x.data(), end);
      if (own.pool && pass.keep) own.pool_saved = saved.take_bytes(pool_saved_bytes(i, batch, pass));
    }
    n.layer.forward(x, out, own);
    if (pass.observer) pass.observer->output(n.full_name, n.layer.kind(), out);
    x = out;
  }
}

template <class T>
MIEN_COLD void Sequential<T>::run_backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy,
                                           TensorView<T> dx, Gradients<T> gradients, const Pass<T>& pass,
                                           Range range) const {
  const index_t batch = x.shape()[0], last = end_of(range);
  index_t lowest = range.first;
  if (!dx) {
    while (lowest < last && !wants_gradient(node(lowest), gradients)) ++lowest;
  }
  if (range.first == last && dx) std::copy_n(dy.data(), dy.size(), dx.data());
  const Ends ends(pass.scratch);
  std::size_t offset = 0;  // of what is saved behind layer i
  for (index_t i = range.first; i < last; ++i) {
    const Shape out = node(i).output.shape.with_batch(batch);
    offset += saved_bytes(i, i == range.first ? x.shape() : shape_before(i, batch), out, range.first, last, pass);
  }
  TensorView<const T> fused_out = y;  // of the layers that another one in front does the work of
  std::span<std::byte> pool_saved;
  for (index_t i = last - 1; i >= lowest; --i) {
    const Node& n = node(i);
    const Shape in_shape = i == range.first ? x.shape() : shape_before(i, batch);
    const Shape out_shape = n.output.shape.with_batch(batch);
    offset -= saved_bytes(i, in_shape, out_shape, range.first, last, pass);
    Arena own(pass.saved.subspan(offset));
    TensorView<const T> out = y;
    if (keeps_output(i, range.first, last)) out = own.tensor<T>(out_shape);
    if (const index_t behind = applied(i, range.first, last); behind > 0) {
      // Done by a layer in front, with the same dy.
      const Applied all = applies(i - behind, last);
      if (behind == all.count()) {
        fused_out = out;
        if (all.pool) pool_saved = own.take_bytes(pool_saved_bytes(i, batch, pass));
      }
      continue;
    }
    const Applied others = applies(i, last);
    if (others.count() > 0) out = fused_out;
    TensorView<const T> in = x;
    TensorView<T> below = dx;
    if (i > range.first) {
      const Shape before = i - 1 == range.first ? x.shape() : shape_before(i - 1, batch);
      const TensorView<T> kept =
          Arena(pass.saved.subspan(offset - saved_bytes(i - 1, before, in_shape, range.first, last, pass)))
              .template tensor<T>(in_shape);
      in = kept;
      if (i > lowest) {
        const bool over = overwrites(i, range.first, last);
        below = over ? kept : ends.opposite(dy.data(), in_shape);
        if (over && pass.context->overwritten != nullptr) *pass.context->overwritten = true;
      }
    }
    const Memory m = n.layer.memory(in_shape, out_shape, pass.threads().count(), true);
    Pass<T> layer_pass = inner(pass, n, own.take_bytes(m.saved), ends.between<T>(dy, below));
    layer_pass.relu = others.relu;
    layer_pass.pool = others.pool;
    if (others.pool) layer_pass.pool_saved = pool_saved;
    n.layer.backward(in, out, dy, below, gradients.subspan(n.first_parameter, n.parameter_count), layer_pass);
    dy = below;
  }
}

template <class T>
MIEN_COLD bool Sequential<T>::freeze_layers(std::string_view name, bool frozen) {
  bool found = false;
  for (Node& n : nodes_) {
    if (covers(name, n.full_name)) {
      n.frozen = frozen;
      found = true;
    }
    for (auto& [branch, chain] : n.layer.branches()) found = chain->freeze_layers(name, frozen) || found;
  }
  return found;
}

template <class T>
MIEN_COLD typename Sequential<T>::Applied Sequential<T>::applies(index_t i, index_t last) const {
  const auto is_relu = [&](index_t k) { return k < last && node(k).layer.is_relu(); };
  Applied result;
  result.relu = node(i).layer.fuses_relu() && is_relu(i + 1);
  const index_t pool = i + result.relu + 1;
  result.pool = pool < last && node(i).layer.fuses_pool() && is_relu(pool - 1) &&
                node(pool - 1).output.shape.rank() == 3 &&
                node(pool).layer.halves(node(pool - 1).output.shape.with_batch(1));
  return result;
}

template <class T>
MIEN_COLD index_t Sequential<T>::applied(index_t i, index_t first, index_t last) const {
  for (index_t behind = 1; behind <= 2 && i - behind >= first; ++behind) {
    const index_t front = i - behind;
    if (applies(front, last).count() >= behind && applied(front, first, last) == 0) return behind;
  }
  return 0;
}

template <class T>
MIEN_COLD index_t Sequential<T>::inferred_behind(index_t i, index_t last) const {
  const auto at = [&](index_t k) -> const AnyLayer<T>* { return k < last ? &node(k).layer : nullptr; };
  index_t next = i + 1;
  if (!node(i).layer.infers(/*scales=*/false) || at(next) == nullptr) return 0;
  if (at(next)->has_infer_map()) {
    if (!node(i).layer.infers(/*scales=*/true)) return 0;
    ++next;
  }
  if (at(next) == nullptr || !at(next)->is_relu()) return next - i - 1;
  const Shape& shape = node(next).output.shape;
  ++next;
  return next - i - (at(next) != nullptr && shape.rank() == 3 && at(next)->halves(shape.with_batch(1)) ? 0 : 1);
}

template <class T>
MIEN_COLD bool Sequential<T>::infer_with(index_t i, index_t behind, TensorView<const T> x, TensorView<T> y,
                                         const Pass<T>& own, const Pass<T>& whole) const {
  kernels::Epilogue<P> epilogue;
  Pass<T> pass = own;
  index_t next = i + 1;
  if (node(next).layer.has_infer_map()) {
    Arena scratch(own.scratch);
    const index_t channels = node(next).output.shape.back();
    P* scale = scratch.take<P>(channels);
    P* shift = scratch.take<P>(channels);
    node(next).layer.infer_map(inner(whole, node(next), {}, {}), scale, shift);
    epilogue.scale = scale;
    epilogue.shift = shift;
    pass.scratch = scratch.rest();
    ++next;
  }
  epilogue.relu = next <= i + behind;
  epilogue.pool = next < i + behind;
  return node(i).layer.infer(x, y, pass, epilogue);
}

template <class T>
MIEN_COLD bool Sequential<T>::keeps_output(index_t i, index_t first, index_t last) const {
  if (i + 1 >= last) return false;
  const index_t behind = applied(i, first, last);
  return behind == 0 ? applies(i, last).count() == 0 : behind == applies(i - behind, last).count();
}

template <class T>
MIEN_COLD bool Sequential<T>::overwrites(index_t i, index_t first, index_t last) const {
  if (i <= first || !node(i).layer.overwrites_input()) return false;
  return node(i - 1 - applied(i - 1, first, last)).layer.ignores_output();
}

template <class T>
MIEN_COLD index_t Sequential<T>::largest_output(Range range) const {
  index_t largest = 0;
  for (index_t i = range.first; i < end_of(range); ++i) {
    largest = std::max(largest, node(i).output.shape.size());
    for (const auto& [branch, chain] : branches_of(node(i))) largest = std::max(largest, chain->largest_output());
  }
  return largest;
}

template <class T>
MIEN_COLD std::size_t Sequential<T>::saved_bytes(index_t i, const Shape& in, const Shape& out, index_t first,
                                                 index_t last, const Pass<T>& pass) const {
  return padded(node(i).layer.memory(in, out, pass.threads().count(), true).saved) +
         (keeps_output(i, first, last) ? bytes_of<T>(out.size()) : 0);
}

template <class T>
MIEN_COLD std::size_t Sequential<T>::pool_saved_bytes(index_t i, index_t batch, const Pass<T>& pass) const {
  return node(i)
      .layer.memory(shape_before(i, batch), node(i).output.shape.with_batch(batch), pass.threads().count(), true)
      .saved;
}

template <class T>
bool Sequential<T>::wants_gradient(const Node& n, Gradients<T> gradients) {
  for (const auto& g : gradients.subspan(n.first_parameter, n.parameter_count))
    if (g) return true;
  return false;
}

template <class T>
MIEN_COLD Memory Sequential<T>::pass_memory(const Shape& x, const Workspace& workspace, bool keep, Range range) const {
  Memory memory = memory_of(x, workspace.threads().count(), keep, range);
  memory.scratch += bytes_of<TensorView<const P>>(static_cast<index_t>(parameters_.size()));
  return memory;
}

template <class T>
MIEN_COLD Pass<T> Sequential<T>::pass(Workspace& workspace, const Context& context, bool training,
                                      Observer<T>* observer) const {
  Arena scratch(workspace.scratch());
  auto* views = scratch.take<TensorView<const P>>(static_cast<index_t>(parameters_.size()));
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter<P>& p = parameters_[i];
    if (p.value.shape() != shapes_[i]) {
      fail<ShapeError>({"parameter '", p.name, "' is ", p.value.shape(), ", expected ", shapes_[i]});
    }
    std::construct_at(views + i, p.value.view());
  }
  return {.context = &context,
          .training = training,
          .keep = training,
          .stream = 0,
          .parameters = {views, parameters_.size()},
          .saved = workspace.saved(),
          .scratch = scratch.rest(),
          .packed = {},
          .observer = observer};
}

template <class T>
MIEN_COLD Pass<T> Sequential<T>::inner(const Pass<T>& outer, const Node& n, std::span<std::byte> saved,
                                       std::span<std::byte> scratch) {
  Pass<T> result = outer;
  result.training = outer.training && !n.frozen && !n.frozen_statistics;
  result.stream = n.stream;
  result.parameters = outer.parameters.subspan(n.first_parameter, n.parameter_count);
  result.saved = saved;
  result.scratch = scratch;
  result.packed = {};
  return result;
}

template <class T>
MIEN_COLD void Sequential<T>::check(const Shape& x, const Shape& y, Range range) const {
  if (!built()) fail<ArgumentError>("the network is not built: call build(shape of one sample) first");
  const index_t last = end_of(range);
  if (range.first < 0 || range.first > last || last > layer_count()) {
    fail<ArgumentError>({"layers ", range.first, " to ", last, " of ", layer_count()});
  }
  if (x.rank() == 0 || x != shape_after(range.first).with_batch(x[0])) {
    fail<ShapeError>({"the network takes (batch, ...) of ", shape_after(range.first), ", got ", x});
  }
  if (y != shape_after(last).with_batch(x[0])) {
    fail<ShapeError>({"the network gives ", shape_after(last).with_batch(x[0]), ", asked for ", y});
  }
}

template <class T>
MIEN_COLD void Sequential<T>::set_frozen(std::string_view name, bool frozen) {
  if (!built()) fail<ArgumentError>("build the network before freezing parts of it");
  bool found = freeze_layers(name, frozen);
  for (Parameter<P>& p : parameters_) {
    if (!covers(name, p.name)) continue;
    p.frozen = frozen;
    found = true;
  }
  if (!found) fail<ArgumentError>({"nothing in the network is named '", name, "'"});
  sync_frozen_layers(parameters_);
}

template <class T>
MIEN_COLD void Sequential<T>::sync_frozen_layers(std::span<const Parameter<P>> own) {
  for (Node& n : nodes_) {
    auto rest = own.subspan(n.first_parameter, n.parameter_count);
    bool any = !rest.empty(), all = true;
    const auto branches = n.layer.branches();
    n.frozen_statistics = false;  // of a combinator, it is that of the layers inside
    for (const Parameter<P>& p : rest) {
      all = all && p.frozen;
      if (branches.empty() && p.frozen && p.role == Role::statistic) n.frozen_statistics = true;
    }
    for (const auto& [branch, chain] : branches) {
      chain->sync_frozen_layers(rest);
      rest = rest.subspan(chain->own_parameter_count());
      for (const Node& inner : chain->nodes_) all = all && inner.frozen;
      any = any || !chain->nodes_.empty();
    }
    if (any) n.frozen = all;
  }
}

template <class T>
MIEN_COLD bool Sequential<T>::is_fixed(const Node& n) {
  if (n.frozen) return true;
  const auto branches = branches_of(n);
  if (branches.empty()) return n.parameter_count == 0 && !n.layer.is_random();
  for (auto& [branch, chain] : branches)
    for (const Node& inner : chain->nodes_)
      if (!is_fixed(inner)) return false;
  return true;
}

template <class T>
MIEN_COLD void Sequential<T>::collect_frozen(const Node& n, std::vector<std::string>& names) {
  if (n.frozen) {
    names.push_back(n.full_name);
    return;
  }
  for (const auto& [branch, chain] : branches_of(n))
    for (const Node& inner : chain->nodes_) collect_frozen(inner, names);
}

template <class T>
MIEN_COLD void Sequential<T>::check_names(const std::vector<Declaration>& declarations) {
  std::vector<std::string> names;
  names.reserve(declarations.size());
  for (const Declaration& d : declarations) names.push_back(d.name);
  if (const std::string* const twice = detail::find_twice(names)) {
    fail<ArgumentError>(
        {"two parameters of the network are named '", *twice, "': name the layers of its branches apart"});
  }
}

template <class T>
MIEN_COLD void Sequential<T>::check_backward(const Shape& x, const Shape& y, const Shape& dy, const Shape& dx,
                                             Gradients<T> gradients) const {
  if (x[0] == 0) fail<ShapeError>("training needs at least one sample");
  if (dy != y || dx != x) {
    fail<ShapeError>({"backward: dy is ", dy, " and dx ", dx, ", expected ", y, " and ", x});
  }
  if (gradients.size() != parameters_.size()) {
    fail<ArgumentError>({"backward: ", gradients.size(), " gradients for ", parameters_.size(), " parameters"});
  }
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i] && gradients[i].size() != parameters_[i].value.size()) {
      fail<ShapeError>({"backward: the gradient of '", parameters_[i].name, "' is ", gradients[i].shape(),
                        ", expected ", parameters_[i].value.shape()});
    }
  }
}

}  // namespace mien
