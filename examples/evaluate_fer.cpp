// evaluate_fer: how good a model is on one split of FER2013, with and without the pictures that also stand in Training.
#include "fer/program.hpp"

using namespace mien;

int main(int argc, char** argv) {
  CLI::App app("Evaluates an expression model on a split of FER2013.", "evaluate_fer");
  fer::CommonOptions common;
  common.add_to(app);
  std::string data_path, split_name = "PublicTest", model_path, personal;
  bool ten_crop = false;
  index_t max_bad = 0;
  app.add_option("--data", data_path,
                 "Folder of class folders, fer2013.csv or icml_face_data.csv; with its Training part, which tells what "
                 "stands in both")
      ->required()
      ->check(fer::not_empty());
  app.add_option("--split", split_name, "Training, PublicTest or PrivateTest")->capture_default_str();
  app.add_option("--model", model_path, "Model file written by train_fer")->required()->check(fer::not_empty());
  app.add_option("--personal", personal, "Delta written by personalize, over that model")->check(fer::not_empty());
  app.add_flag("--ten-crop", ten_crop, "Average over four corners and the centre, each also mirrored");
  app.add_option("--max-bad", max_bad,
                 "Leave out up to this many damaged pictures or rows (also those of other splits)")
      ->check(CLI::NonNegativeNumber);

  return fer::run_program(app, argc, argv, [&] {
    const auto split = fer::split_of(split_name);
    if (!split) fail<ArgumentError>("--split " + split_name + ": expected Training, PublicTest or PrivateTest");
    const Threads threads(common.threads);
    Workspace workspace(threads);
    Model<float> model = fer::load_expression_model(model_path);
    if (!personal.empty()) load_delta(model.network, personal);

    std::vector<fer::Split> splits = {*split};
    if (*split != fer::Split::training) splits.push_back(fer::Split::training);
    const fer::Fer2013 data = fer::load_fer2013(data_path, {.splits = splits, .max_bad = max_bad}, threads);
    fer::print_warnings(data);
    const fer::FaceImages& faces = data[*split];
    std::vector<index_t> copies;
    if (*split != fer::Split::training) copies = fer::copies_in(faces, data[fer::Split::training]);

    const auto probabilities = fer::predict(model.network, faces, model.info.preprocessing, ten_crop, workspace);
    const Evaluation all = fer::score(probabilities, faces.labels);
    const Evaluation clean = fer::score(probabilities, faces.labels, copies);
    const std::string name(fer::split_name(*split));
    fer::print_evaluation(name.c_str(), all);
    if (*split != fer::Split::training) {
      std::fprintf(stderr, "\n%zu of these pictures also stand in Training.", copies.size());
      fer::print_evaluation((name + " without them").c_str(), clean);
    }
    if (common.json) {
      fer::print_json(Json::object({{"model", model_path},
                                    {"split", name},
                                    {"ten_crop", ten_crop},
                                    {"accuracy", all.accuracy()},
                                    {"macro_f1", all.macro_f1()},
                                    {"loss", all.loss()},
                                    {"ece", all.calibration_error()},
                                    {"count", all.count()},
                                    {"clean_accuracy", clean.accuracy()},
                                    {"clean_macro_f1", clean.macro_f1()},
                                    {"clean_ece", clean.calibration_error()},
                                    {"clean_count", clean.count()},
                                    {"confusion", fer::confusion_json(all)},
                                    {"clean_confusion", fer::confusion_json(clean)},
                                    {"classes", fer::classes_json(all)}}));
    }
    return 0;
  });
}
