// fit: the training loop, with validation, checkpoints and resume.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <limits>
#include <type_traits>

#include "mien/train/checkpoint.hpp"
#include "mien/train/evaluate.hpp"
#include "mien/train/progress.hpp"

namespace mien {

/// Gives the targets of batches where they are not those of the labels alone: see Distillation.
class TargetSource {
 public:
  virtual ~TargetSource() = default;
  /// Changes `targets` (batch, classes), which come from the labels, by `inputs` (batch, ...input), which are what the
  /// network is given. The same inputs must get the same targets.
  virtual void retarget(TensorView<const float> inputs, TensorView<float> targets) = 0;
};

/// Settings of fit().
struct FitOptions {
  int epochs = 1;
  index_t batch = 64;
  const Dataset* validation = nullptr;
  /// Train layers from this one on, on datasets of what comes out of those before it: see CachedFeatures.
  index_t first_layer = 0;
  std::uint64_t seed = 0;
  /// One thread without it.
  const Threads* threads = nullptr;
  /// Lengths in epochs.
  Schedule schedule = Schedule::constant();
  CrossEntropy loss = {};
  /// Above 0: exponential moving average of the weights with this decay; validation and result use it.
  float average_decay = 0;
  float mixup_alpha = 0;
  /// Leave out an epoch's last batch when it is not full.
  bool drop_last = false;
  /// Above 0: stop after this many epochs in a row without a higher validation accuracy.
  int patience = 0;
  /// End with the weights of the best epoch by validation accuracy instead of the last ones.
  bool restore_best = false;
  /// Where to save what is needed to go on, after every epoch and every `checkpoint_batches` batches (0: epochs only).
  std::string checkpoint = {};
  index_t checkpoint_batches = 0;
  /// Go on from `checkpoint` if that file is there.
  bool resume = false;
  /// Model file of the best epoch by validation accuracy, and what stands in it; of the last one without validation or
  /// with keep_last. Where the learning rate ends at zero and weights are averaged, epochs at the end differ by less
  /// than accuracy can tell, and the last one has learnt the most.
  std::string model = {};
  bool keep_last = false;
  ModelInfo info = {};
  TrainingObserver* observer = nullptr;
  TargetSource* targets = nullptr;
  /// Stands for the data and whatever else a resumed run must share with the one it goes on from.
  std::string settings = {};
};

namespace detail {

/// One training run: what fit() does, in steps.
template <class T>
class Trainer {
 public:
  using P = parameter_t<T>;

  MIEN_COLD ~Trainer() = default;  // named to be compiled for size
  MIEN_COLD Trainer(Sequential<T>& net, const Optimizer& optimizer, const Dataset& train, const FitOptions& options)
      : net_(net),
        train_(train),
        options_(options),
        workspace_(options.threads),
        schedule_(options.schedule),
        optimizer_((check(), optimizer), std::as_const(net).parameters()) {
    const index_t rest = options.drop_last || train.size() % options.batch == 0 ? 0 : 1;
    batches_ = train.size() / options.batch + rest;
    if (batches_ == 0) {
      fail<ArgumentError>({"no full batch of ", options.batch, " in ", train.size(), " samples"});
    }
    schedule_ = schedule_.scaled(static_cast<double>(batches_));
    if (options.average_decay > 0) average_.emplace(options.average_decay, std::as_const(net).parameters());
    for (const auto& p : net.parameters()) {
      gradients_.push_back(p.frozen ? Tensor<P>() : Tensor<P>(p.value.shape()));
      gradient_views_.push_back(p.frozen ? TensorView<P>() : gradients_.back().view());
    }
    const Shape out = net.output_shape();
    const index_t most = std::min(options.batch, train.size());
    logits_ = Tensor<T>(out.with_batch(most));
    dlogits_ = Tensor<T>(out.with_batch(most));
  }

  MIEN_COLD History run() {
    if (options_.resume && !options_.checkpoint.empty() && file_exists(options_.checkpoint)) {
      state_ = load_checkpoint<P>(options_.checkpoint, settings(), net_.parameters(), optimizer_,
                                  average_ ? &*average_ : nullptr, schedule_, best_);
    }
    bool go_on = !out_of_patience();  // a resumed run may have ended so
    while (state_.epoch < options_.epochs && go_on) {
      train_epoch();
      go_on = finish_epoch();
    }
    state_.history.stopped_early = out_of_patience() && state_.epoch < options_.epochs;
    if (options_.restore_best && !best_.empty()) {
      for (std::size_t i = 0; i < best_.size(); ++i) net_.parameters()[i].value = best_[i];
    } else {
      swap_averages();
    }
    return state_.history;
  }

 private:
  Range range() const { return {options_.first_layer, -1}; }

  MIEN_COLD void check() const {
    const FitOptions& o = options_;
    if (!net_.built()) fail<ArgumentError>("build the network before training it");
    // A checkpoint's header holds the history, and has 10 MB.
    const int most = o.checkpoint.empty() ? std::numeric_limits<int>::max() : 50'000;
    if (o.epochs < 1 || o.epochs > most) fail<ArgumentError>({"epochs is ", o.epochs, ", expected 1 to ", most});
    if (o.batch < 1) fail<ArgumentError>({"batch is ", o.batch, ", expected at least 1"});
    if (o.patience < 0) fail<ArgumentError>("patience must not be negative");
    if (o.first_layer < 0 || o.first_layer >= net_.layer_count()) fail<ArgumentError>("first_layer is no layer");
    if (!o.model.empty()) {
      check_info(o.info);
      (void)network_to_json(net_);  // throws if there is no file for it
    }
    if (train_.size() == 0) fail<ArgumentError>("the training set is empty");
    if (o.validation && o.validation->size() == 0) fail<ArgumentError>("the validation set is empty");
    const auto fits = [&](const Dataset& d, const char* which) {
      const Shape& input = net_.shape_after(o.first_layer);
      if (d.shape() != input) {
        fail<ShapeError>({"the ", which, " set has samples of shape ", d.shape(), ", the network takes ", input});
      }
      if (net_.output_shape() != Shape{d.classes()}) {
        fail<ShapeError>(
            {"the ", which, " set has ", d.classes(), " classes, the network gives ", net_.output_shape()});
      }
    };
    fits(train_, "training");
    if (o.validation) fits(*o.validation, "validation");
    bool any = false;
    for (const auto& p : net_.parameters()) any = any || p.trainable();
    if (!any) fail<ArgumentError>("nothing to train: every parameter is frozen");
    if (o.first_layer > net_.frozen_prefix()) {
      fail<ArgumentError>({"first_layer is ", o.first_layer, ", but only the first ", net_.frozen_prefix(),
                           " layers are frozen: freeze those left out"});
    }
  }

  /// All that decides what a run computes, as text.
  MIEN_COLD std::string settings() const {
    const FitOptions& o = options_;
    const Optimizer& opt = optimizer_.optimizer();
    std::string text = "seed " + std::to_string(o.seed);
    const std::string network = network_to_json(net_).write();
    text += ", " + std::string(dtype_name(dtype_of<T>())) + ", network " +
            std::to_string(crc32c(std::as_bytes(std::span(network))));
    const auto add = [&](const char* name, auto value) {
      text += std::string(", ") + name + " " + Json(value).write();  // the shortest form that is exact
    };
    add("epochs", o.epochs);
    add("batch", o.batch);
    add("samples", train_.size());
    text += std::string(", optimizer ") + opt.name();
    add("rate", opt.learning_rate());
    add("decay", opt.weight_decay());
    if (opt.method() == Optimizer::Method::sgd) {
      add("momentum", opt.sgd().momentum);
      if (opt.sgd().nesterov) text += ", nesterov";
    } else {
      add("beta1", opt.adam().beta1);
      add("beta2", opt.adam().beta2);
      add("epsilon", opt.adam().epsilon);
      add("rate decay", opt.adam().learning_rate_decay);
    }
    if (opt.decay_only_weights) text += ", decay only weights";
    if (opt.clip_norm > 0 && std::isfinite(opt.clip_norm)) add("clip norm", opt.clip_norm);
    if (opt.clip_value > 0 && std::isfinite(opt.clip_value)) add("clip value", opt.clip_value);
    for (const ParameterGroup& group : opt.groups) {
      text += ", group " + group.match;
      add("scale", group.learning_rate_scale);
      add("decay", group.weight_decay);
    }
    text += ", schedule " + o.schedule.to_string();
    add("smoothing", o.loss.label_smoothing);
    for (const float weight : o.loss.class_weights) add("class weight", weight);
    add("average", o.average_decay);
    add("mixup", o.mixup_alpha);
    if (o.drop_last) text += ", drop last";
    if (o.targets) text += ", other targets";
    if (o.validation) add("validation samples", o.validation->size());
    if (o.restore_best) text += ", restore best";
    if (o.keep_last) text += ", keep last";
    if (o.first_layer > 0) add("first layer", o.first_layer);
    for (const std::string& name : net_.frozen_names()) text += ", frozen " + name;
    return o.settings.empty() ? text : text + ", " + o.settings;
  }

  /// What cannot be looked at is there: reading it says why, and it is not written over.
  static bool file_exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0 || errno != ENOENT; }

  void train_epoch() {
    Batches batches(train_, {.batch = options_.batch,
                             .shuffle = true,
                             .drop_last = options_.drop_last,
                             .seed = options_.seed,
                             .epoch = static_cast<std::uint64_t>(state_.epoch),
                             .first_batch = state_.batch,
                             .mixup_alpha = options_.mixup_alpha,
                             .prefetch = 2,
                             .threads = 1});
    double start = clock_seconds();
    const auto account = [&] {
      const double now = clock_seconds();
      state_.seconds += now - start;
      start = now;
    };
    while (const Batch* b = batches.next()) {
      step(*b);
      ++state_.batch;
      account();
      if (options_.observer) options_.observer->batch(batch_report());
      if (options_.checkpoint_batches > 0 && !options_.checkpoint.empty() &&
          state_.batch % options_.checkpoint_batches == 0 && state_.batch < batches_) {
        write_checkpoint();
        start = clock_seconds();
      }
    }
  }

  MIEN_COLD void step(const Batch& b) {
    const Shape out = net_.output_shape().with_batch(b.count);
    const TensorView<const float> inputs(b.inputs.data(), train_.shape().with_batch(b.count));
    TensorView<const float> targets(b.targets.data(), out);
    if (options_.targets) {
      if (targets_.size() < out.size()) targets_ = Tensor<float>(out);
      std::copy(targets.begin(), targets.end(), targets_.begin());
      options_.targets->retarget(inputs, TensorView<float>(targets_.data(), out));
      targets = {targets_.data(), out};
    }
    const TensorView<const T> x = convert_batch(inputs, inputs_, workspace_.threads());
    const TensorView<T> y(logits_.data(), out), dy(dlogits_.data(), out);
    const std::uint64_t seed = options_.seed, step = state_.steps;
    net_.forward(x, y, workspace_, seed, step, range());
    const double loss = options_.loss(TensorView<const T>(y), targets, dy);
    if (!std::isfinite(loss)) {
      NonFiniteFinder<T> finder;
      net_.forward(x, y, workspace_, seed, step, range(), &finder);
      fail<NumericError>({"the loss is not finite in epoch ", state_.epoch + 1, ", batch ", state_.batch + 1, ": ",
                          (finder.found.empty() ? "every layer's output is finite" : finder.found),
                          "; try a smaller learning rate. The last checkpoint is kept."});
    }
    for (index_t r = 0; r < b.count; ++r) {
      index_t best = 0;
      const T* row = y.data() + r * out[1];
      for (index_t k = 1; k < out[1]; ++k)
        if (static_cast<P>(row[k]) > static_cast<P>(row[best])) best = k;
      state_.correct += best == b.labels[static_cast<std::size_t>(r)] ? 1 : 0;
    }
    state_.loss_sum += loss * static_cast<double>(b.count);
    state_.seen += b.count;
    net_.backward(x, y, dy, {}, gradient_views_, workspace_, seed, step, range());
    const double factor = schedule_.factor(static_cast<double>(step), total_steps());
    rate_ = static_cast<double>(optimizer_.optimizer().learning_rate()) * factor;
    optimizer_.step(net_.parameters(), gradient_views_, static_cast<float>(rate_), workspace_.threads());
    auto parameters = net_.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].role == Role::statistic && !parameters[i].frozen) {
        std::copy_n(gradients_[i].data(), gradients_[i].size(), parameters[i].value.data());
      }
    }
    if (average_) average_->update(std::as_const(net_).parameters(), workspace_.threads());
    ++state_.steps;
  }

  double total_steps() const { return static_cast<double>(batches_) * options_.epochs; }

  double rate() const { return state_.seconds > 0 ? static_cast<double>(state_.seen) / state_.seconds : 0; }

  BatchReport batch_report() const {
    const double seen = static_cast<double>(std::max<index_t>(state_.seen, 1));
    return {state_.epoch + 1,
            options_.epochs,
            state_.batch,
            batches_,
            state_.loss_sum / seen,
            static_cast<double>(state_.correct) / seen,
            rate()};
  }

  /// Exchanges the network's weights and their averages, if there are any.
  MIEN_COLD void swap_averages() {
    if (average_) average_->swap(net_.parameters());
  }
  /// The network has its averaged weights, if there are any, to the end of this, also if that is an exception's.
  struct Averaged {
    Trainer* trainer;
    explicit Averaged(Trainer* of) : trainer(of) { trainer->swap_averages(); }
    ~Averaged() { end(); }
    Averaged(const Averaged&) = delete;
    Averaged& operator=(const Averaged&) = delete;
    void end() {
      if (trainer != nullptr) trainer->swap_averages();
      trainer = nullptr;
    }
  };

  /// Validates, saves, reports; returns whether to go on.
  MIEN_COLD bool finish_epoch() {
    const BatchReport last = batch_report();
    EpochReport report{.epoch = last.epoch,
                       .train_loss = last.loss,
                       .train_accuracy = last.accuracy,
                       .learning_rate = rate_,
                       .seconds = state_.seconds,
                       .images_per_second = rate()};
    Averaged averaged(this);
    bool better = false;
    if (options_.validation) {
      const Evaluation e =
          evaluate(net_, *options_.validation, workspace_, std::max<index_t>(options_.batch, 64), options_.first_layer);
      report.validation_loss = e.loss();
      report.validation_accuracy = e.accuracy();
      report.validation_macro_f1 = e.macro_f1();
      better = state_.history.best_epoch == 0 || e.accuracy() > state_.history.best_accuracy;
      if (better) {
        state_.history.best_epoch = report.epoch;
        state_.history.best_accuracy = e.accuracy();
        if (options_.restore_best) {
          best_.clear();
          for (const auto& p : net_.parameters()) best_.push_back(Tensor<P>(p.value));
        }
      }
    }
    state_.history.epochs.push_back(report);
    if (!options_.model.empty() && (better || !options_.validation || options_.keep_last)) {
      save(net_, options_.model, options_.info);
    }
    averaged.end();
    state_.bad_epochs = better ? 0 : state_.bad_epochs + 1;
    if (options_.validation) {
      schedule_.observe(schedule_.watches_loss() ? report.validation_loss : report.validation_accuracy);
    } else {
      schedule_.observe(schedule_.watches_loss() ? report.train_loss : report.train_accuracy);
    }
    ++state_.epoch;
    state_.batch = 0;
    state_.loss_sum = state_.seconds = 0;
    state_.correct = state_.seen = 0;
    if (!options_.checkpoint.empty()) write_checkpoint();
    state_.history.stopped_early = out_of_patience() && state_.epoch < options_.epochs;
    bool go_on = !out_of_patience();
    if (options_.observer) go_on = options_.observer->epoch(report, state_.history) && go_on;
    return go_on;
  }

  bool out_of_patience() const {
    return options_.patience > 0 && options_.validation && state_.bad_epochs >= options_.patience;
  }

  MIEN_COLD void write_checkpoint() {
    save_checkpoint<P>(options_.checkpoint, settings(), state_, std::as_const(net_).parameters(), optimizer_,
                       average_ ? &*average_ : nullptr, schedule_, best_);
  }

  Sequential<T>& net_;
  const Dataset& train_;
  const FitOptions& options_;
  Workspace workspace_;
  Schedule schedule_;
  OptimizerState<P> optimizer_;
  std::optional<WeightAverage<P>> average_;
  index_t batches_ = 0;
  std::vector<Tensor<P>> gradients_;
  std::vector<TensorView<P>> gradient_views_;
  std::vector<Tensor<P>> best_;
  Tensor<T> inputs_, logits_, dlogits_;
  Tensor<float> targets_;
  double rate_ = 0;
  TrainingState state_;
};

}  // namespace detail

/// Trains `net` on `train` by softmax cross entropy and returns what happened. Same seed, same weights, bit for bit,
/// for any number of threads; a run that is stopped or killed and then resumed from its checkpoint ends as one that was
/// not. What is frozen stays as it is. Afterwards `net` has the last weights, averaged where averaging is on, or the
/// best ones with restore_best.
///
/// Throws ArgumentError and ShapeError for settings, data and network that do not fit together, NumericError when the
/// loss is not finite (naming the first layer that went wrong), FileError when a checkpoint cannot be written; the last
/// good checkpoint then stays.
template <class T>
History fit(Sequential<T>& net, const Optimizer& optimizer, const Dataset& train, const FitOptions& options) {
  return detail::Trainer<T>(net, optimizer, train, options).run();
}

}  // namespace mien
