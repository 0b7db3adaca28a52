// personalize: adapts an expression model to one person's face (or to each of several) by training its head on a few
// pictures while the convolutions stay frozen.
#include <chrono>
#include <filesystem>
#include <optional>
#include <system_error>

#include "fer/personal_head.hpp"
#include "fer/persons.hpp"
#include "fer/program.hpp"
#include "fer/replay.hpp"
#include "mien/train/fit.hpp"

using namespace mien;

namespace {

struct Settings {
  fer::CommonOptions common;
  std::string model, personal, faces, out, boxes, head = "linear", general_data;
  index_t shots = 0, max_bad = 0;
  double keep = 1;
};

/// The last dense layer of a network as a Head, and back.
fer::Head head_of(Sequential<float>& net) {
  const std::string name = net.layer_name(fer::head_layer(net));
  const Tensor<float>& weight = net.parameter(name + ".weight").value;
  const Tensor<float>& bias = net.parameter(name + ".bias").value;
  fer::Head head(weight.shape()[0], weight.shape()[1]);
  for (index_t k = 0; k < head.classes; ++k) {
    for (index_t i = 0; i < head.width; ++i) head.row(k)[i] = static_cast<double>(weight[k * head.width + i]);
    head.row(k)[head.width] = static_cast<double>(bias[k]);
  }
  return head;
}

void set_head(Sequential<float>& net, const fer::Head& head) {
  const std::string name = net.layer_name(fer::head_layer(net));
  Tensor<float>& weight = net.parameter(name + ".weight").value;
  Tensor<float>& bias = net.parameter(name + ".bias").value;
  for (index_t k = 0; k < head.classes; ++k) {
    for (index_t i = 0; i < head.width; ++i) weight[k * head.width + i] = static_cast<float>(head.row(k)[i]);
    bias[k] = static_cast<float>(head.row(k)[head.width]);
  }
}

/// Pictures as what comes out of the network's first `layers` layers.
struct FeatureSet {
  Tensor<float> features;
  std::vector<int> labels;
};

FeatureSet features_of(const Sequential<float>& net, index_t layers, const fer::FaceImages& faces,
                       const Preprocessing& p, Workspace& workspace) {
  if (faces.size() == 0) return {Tensor<float>(net.shape_after(layers).with_batch(0)), {}};
  const ByteDataset dataset = fer::to_dataset(faces, p);
  return {fer::mirrored_features(net, layers, dataset, p.crop, workspace), faces.labels};
}

/// Runs the layers behind the features.
Evaluation evaluate_features(const Sequential<float>& net, index_t layers, const FeatureSet& set,
                             Workspace& workspace) {
  Evaluation result(fer::class_count);
  const index_t n = set.features.shape()[0];
  Tensor<float> logits(Shape{128, fer::class_count});
  for (index_t first = 0; first < n; first += 128) {
    const index_t count = std::min<index_t>(128, n - first);
    const TensorView<float> y(logits.data(), {count, fer::class_count});
    net.infer(set.features.view().slice(first, count), y, workspace, {layers});
    result.add_logits(TensorView<const float>(y),
                      std::span(set.labels).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
  }
  return result;
}

/// Cached features as a dataset, for the full head.
class FeatureDataset : public Dataset {
 public:
  explicit FeatureDataset(const FeatureSet& set) : set_(&set) {}
  index_t size() const override { return set_->features.shape()[0]; }
  Shape shape() const override { return set_->features.shape().without_batch(); }
  int classes() const override { return fer::class_count; }
  int label(index_t i) const override { return set_->labels[static_cast<std::size_t>(i)]; }
  void get(index_t i, const SampleKey&, std::span<float> input) const override {
    std::copy_n(set_->features.data() + i * shape().size(), input.size(), input.data());
  }

 private:
  const FeatureSet* set_;
};

std::string delta_path(const std::string& out, const std::string& person, bool several) {
  if (!several) return out;
  const std::filesystem::path path(out);
  return (path.parent_path() / (path.stem().string() + "-" + person + path.extension().string())).string();
}

int personalize(const Settings& s) {
  using Clock = std::chrono::steady_clock;
  const Threads threads(s.common.threads);
  Workspace workspace(threads);
  Model<float> model = fer::load_expression_model(s.model);
  Sequential<float>& net = model.network;
  const Preprocessing& p = model.info.preprocessing;
  const std::uint32_t base = fingerprint(net);
  const bool linear = s.head == "linear";

  // What is frozen: everything but the head. The features in front of it are computed once.
  net.freeze("");
  for (index_t i = net.layer_count() - 1; i >= 0; --i) {
    const bool trunk = net.layer_kind(i) == Conv2d::kind || !net.layer(i).branches().empty();
    if (trunk || (linear && i < fer::head_layer(net))) break;
    if (net.layer_kind(i) == Dense::kind || (!linear && net.layer_kind(i) == Dropout::kind)) {
      net.unfreeze(net.layer_name(i));
    }
  }
  const index_t layers = linear ? fer::head_layer(net) : net.frozen_prefix();
  const Sequential<float> general = net;
  if (!s.personal.empty()) {
    load_delta(net, s.personal);
    // What is written holds what is not frozen, and its features are the model's.
    for (std::size_t i = 0; i < general.parameters().size(); ++i) {
      const auto &before = general.parameters()[i], &now = std::as_const(net).parameters()[i];
      if (before.frozen && !std::equal(before.value.begin(), before.value.end(), now.value.begin())) {
        fail<ArgumentError>(s.personal + " changes more than the last layer (" + before.name +
                            "): go on from it with --head full, or without --personal");
      }
    }
  }
  const Sequential<float> start = net;

  std::optional<std::map<std::string, PixelBox>> boxes;
  if (!s.boxes.empty()) boxes = fer::read_boxes(s.boxes);
  fer::PersonsReport found;
  const std::vector<fer::Person> persons =
      fer::read_persons(s.faces, boxes ? &*boxes : nullptr, p.margin, s.shots, threads, found);
  for (const fer::Person& person : persons) {
    const std::string path = delta_path(s.out, person.name, persons.size() > 1);
    for (const std::string* input : {&s.model, &s.boxes, &s.general_data}) {
      std::error_code error;
      if (!input->empty() && std::filesystem::equivalent(path, *input, error)) {
        fail<ArgumentError>("--out would write over '" + *input + "': name another file for the delta");
      }
    }
  }
  for (const std::string& warning : found.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (!s.personal.empty()) {
    std::fprintf(stderr, "warning: pictures that %s was made of may be among those held out\n", s.personal.c_str());
  }
  if (found.without_box > 0) {
    std::fprintf(stderr, "warning: %td of %td pictures have no box in %s and are used whole\n", found.without_box,
                 found.pictures, s.boxes.c_str());
  }

  // General faces: to see what is forgotten, and to be held to where the model brings no bank.
  std::optional<FeatureSet> public_test;
  Tensor<float> bank;
  for (auto& [name, tensor] : model.extra) {
    if (name == "replay.features" && tensor.shape().rank() == 2 &&
        tensor.shape()[1] == net.shape_after(fer::head_layer(net)).size()) {
      bank = std::move(tensor);
    }
  }
  if (!s.general_data.empty()) {
    std::vector<fer::Split> splits = {fer::Split::public_test};
    if (linear && bank.size() == 0) splits.push_back(fer::Split::training);
    fer::Fer2013 data = fer::load_fer2013(s.general_data, {.splits = splits, .max_bad = s.max_bad}, threads);
    fer::print_warnings(data);
    if (splits.size() > 1) {
      const ByteDataset training = fer::to_dataset(data[fer::Split::training], p);
      bank = fer::replay_bank(general, training, p.crop, fer::replay_faces, s.common.seed, workspace);
    }
    public_test = features_of(general, layers, data[fer::Split::public_test], p, workspace);
  }
  if (linear && bank.size() == 0) {
    std::fprintf(stderr,
                 "warning: the model has no bank of general features and no --general-data is given: nothing holds the "
                 "head to its general answers\n");
  }
  std::optional<Evaluation> general_before;
  if (public_test) general_before = evaluate_features(general, layers, *public_test, workspace);

  Evaluation before(fer::class_count), after(fer::class_count);
  double general_after = 0, seconds = 0, worst_seconds = 0, f1_before = 0, f1_after = 0;
  std::size_t bytes = 0;
  Json list = Json::array();
  for (const fer::Person& person : persons) {
    const auto begin = Clock::now();
    net = start;
    const FeatureSet adapt = features_of(net, layers, person.adapt, p, workspace);
    const FeatureSet held = features_of(net, layers, person.held_out, p, workspace);
    const Evaluation own_before = evaluate_features(general, layers, held, workspace);
    if (person.adapt.size() == 0) {
      std::fprintf(stderr,
                   "warning: %s has one take per class, all held out: nothing to adapt on (a take is what stands in "
                   "front of -<number> in a file's name)\n",
                   person.name.c_str());
    } else if (linear) {
      set_head(net, fer::personalize_head(head_of(net), adapt.features, adapt.labels, bank,
                                          {.anchor = bank.size() > 0 ? 1e-4 : 3e-3, .replay = s.keep}, threads));
    } else {
      const FeatureDataset data(adapt);
      fit(net, Adam{{.learning_rate = 1e-3f, .weight_decay = 1e-6f}}, data,
          {.epochs = 40, .batch = 32, .first_layer = layers, .seed = s.common.seed, .threads = &threads});
    }
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    const Evaluation own_after = evaluate_features(net, layers, held, workspace);
    const Json name = Json::parse(Json(person.name).write());  // in UTF-8, as a file's metadata are
    const auto delta = delta_bytes(net, base, {{"person", JsonView(name).as_string()}, {"head", s.head}});
    write_file_atomically(delta_path(s.out, person.name, persons.size() > 1), delta);
    bytes = std::max(bytes, delta.size());
    seconds += took;
    worst_seconds = std::max(worst_seconds, took);
    before.merge(own_before);
    after.merge(own_after);
    f1_before += own_before.macro_f1();
    f1_after += own_after.macro_f1();
    Json row = Json::object({{"name", person.name},
                             {"adapted_on", person.adapt.size()},
                             {"held_out", person.held_out.size()},
                             {"before", own_before.accuracy()},
                             {"after", own_after.accuracy()},
                             {"before_f1", own_before.macro_f1()},
                             {"after_f1", own_after.macro_f1()},
                             {"seconds", took},
                             {"delta_bytes", delta.size()}});
    std::fprintf(stderr, "%-28s %4td adapted on, %4td held out: accuracy %6.2f -> %6.2f %%  F1 %.3f -> %.3f",
                 person.name.c_str(), person.adapt.size(), person.held_out.size(), 100 * own_before.accuracy(),
                 100 * own_after.accuracy(), own_before.macro_f1(), own_after.macro_f1());
    if (public_test) {
      const double accuracy = evaluate_features(net, layers, *public_test, workspace).accuracy();
      general_after += accuracy;
      row.set("general_after", accuracy);
      std::fprintf(stderr, "  PublicTest %.2f %%", 100 * accuracy);
    }
    std::fprintf(stderr, "\n");
    list.push_back(std::move(row));
  }
  const double count = static_cast<double>(persons.size());
  fer::print_evaluation("Held-out takes before", before);
  fer::print_evaluation("Held-out takes after", after);
  std::fprintf(stderr, "\nAll held-out pictures: accuracy %.2f -> %.2f %%; F1, mean over persons: %.3f -> %.3f\n",
               100 * before.accuracy(), 100 * after.accuracy(), f1_before / count, f1_after / count);
  if (general_before) {
    std::fprintf(stderr, "PublicTest (what is forgotten): %.2f -> %.2f %%\n", 100 * general_before->accuracy(),
                 100 * general_after / count);
  }
  std::fprintf(stderr, "%.3f s per person, at most %.3f s; %zu bytes written per person\n", seconds / count,
               worst_seconds, bytes);
  if (s.common.json) {
    fer::print_json(Json::object({{"head", s.head},
                                  {"shots", s.shots},
                                  {"before", before.accuracy()},
                                  {"after", after.accuracy()},
                                  {"before_f1", f1_before / count},
                                  {"after_f1", f1_after / count},
                                  {"before_confusion", fer::confusion_json(before)},
                                  {"after_confusion", fer::confusion_json(after)},
                                  {"general_before", general_before ? Json(general_before->accuracy()) : Json()},
                                  {"general_after", general_before ? Json(general_after / count) : Json()},
                                  {"seconds", seconds / count},
                                  {"worst_seconds", worst_seconds},
                                  {"delta_bytes", bytes},
                                  {"persons", std::move(list)}}));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Adapts an expression model to a person's face from a few pictures.", "personalize");
  Settings s;
  s.common.add_to(app);
  app.add_option("--model", s.model, "Model file written by train_fer")->required()->check(fer::not_empty());
  app.add_option("--personal", s.personal, "Start from this delta, made over the same model")->check(fer::not_empty());
  app.add_option("--faces", s.faces,
                 "Folder <class>/<take>-<n>.jpg|png|pgm of one person, or <person>/<class>/... of several")
      ->required()
      ->check(fer::not_empty());
  app.add_option("--out", s.out, "Delta to write; for several persons -<person> is added to its name")
      ->required()
      ->check(fer::not_empty());
  app.add_option("--boxes", s.boxes, "CSV of face boxes, columns file,x,y,w,h; files relative to --faces")
      ->check(fer::not_empty());
  app.add_option("--shots", s.shots, "Adapt on at most this many pictures per class (0: all)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--head", s.head, "linear: anchored softmax regression; full: all dense layers by Adam")
      ->check(CLI::IsMember({"linear", "full"}))
      ->capture_default_str();
  auto* keep = app.add_option("--keep", s.keep,
                              "linear: how strongly general answers are kept; 0 not at all, 1 as measured best")
                   ->check(fer::number_in(0, 100, "from 0 to 100"))
                   ->capture_default_str();
  auto* general = app.add_option("--general-data", s.general_data, "FER2013, to measure what is forgotten")
                      ->check(fer::not_empty());
  app.add_option("--max-bad", s.max_bad,
                 "Leave out up to this many damaged pictures of it (of a CSV file also those of other splits)")
      ->check(CLI::NonNegativeNumber)
      ->needs(general);
  return fer::run_program(app, argc, argv, [&] {
    if (keep->count() > 0 && s.head != "linear") fail<ArgumentError>("--keep goes with --head linear");
    return personalize(s);
  });
}
