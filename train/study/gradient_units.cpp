#include "train/study/gradients.h"

#include <algorithm>
#include <cmath>

namespace glint {

using nlohmann::ordered_json;

namespace {

constexpr std::pair<const char*, double AttentionErrors::*> kErrors[] = {{"out", &AttentionErrors::out},
                                                                         {"dq", &AttentionErrors::dq},
                                                                         {"dk", &AttentionErrors::dk},
                                                                         {"dv", &AttentionErrors::dv}};

void add_errors(ordered_json& rows, const char* kernel, const AttentionErrors& errors) {
  ordered_json& row = rows.emplace_back(ordered_json{{"kernel", kernel}});
  for (const auto& [result, error] : kErrors) row[result] = errors.*error;
}

// One sequence of a batch.
AttentionCase sequence_of(const AttentionCase& x, int b) {
  AttentionCase one = x;
  one.shape.B = 1;
  for (auto* array : {&one.q, &one.k, &one.v, &one.dout}) {
    const auto size = static_cast<std::ptrdiff_t>(array->size()) / x.shape.B;
    *array = {array->begin() + b * size, array->begin() + (b + 1) * size};
  }
  return one;
}

AttentionResults<double> widened(const AttentionResults<float>& r) {
  const auto wide = [](const std::vector<float>& values) { return std::vector<double>(values.begin(), values.end()); };
  return {wide(r.out), wide(r.dq), wide(r.dk), wide(r.dv)};
}

ordered_json order_row(int layer, const std::string& order, const AttentionResults<float>& got,
                       const AttentionResults<float>& kernel, const AttentionResults<double>& exact) {
  const AttentionErrors distance = errors_of(got, widened(kernel)), error = errors_of(got, exact),
                        of_kernel = errors_of(kernel, exact);
  ordered_json row = {{"layer", layer}, {"order", order}, {"same_bits", got == kernel}};
  for (const auto& [result, value] : kErrors)
    row[result] = {{"distance", distance.*value}, {"error", error.*value}, {"of_kernel", of_kernel.*value}};
  return row;
}

double distance_of(const float* got, const float* from, size_t n) {
  return relative_error({got, got + n}, {from, from + n});
}

}  // namespace

ordered_json attention_errors(const AttentionCase& x, int threads) {
  const Device device = CpuContext{threads};
  const AttentionResults<double> exact = run_in_double(x);
  const AttentionCase rounded = rounded_to_bf16(x);
  const auto in_bf16 = run_attention(device, DType::bf16, AttentionKind::flash, rounded);
  const auto exact_rounded = run_in_double(rounded);
  ordered_json rows = ordered_json::array();
  add_errors(rows, kFlash, errors_of(run_attention(device, DType::f32, AttentionKind::flash, x), exact));
  add_errors(rows, kReference, errors_of(run_attention(device, DType::f32, AttentionKind::reference, x), exact));
  add_errors(rows, kBf16, errors_of(in_bf16, exact_rounded));
  add_errors(rows, kReferenceBf16, errors_of(run_plain_bf16(x), exact_rounded));
  add_errors(rows, kBf16Inputs, errors_of(in_bf16, exact));
  add_errors(rows, kBestBf16, errors_of_bf16(exact));
  for (ordered_json& row : rows) row["T"] = x.shape.T;
  return rows;
}

ordered_json layer_errors(const StudiedModel& studied, const StudiedBatch& batch, int threads, const PartDone& done) {
  ordered_json all = ordered_json::array();
  const std::vector<AttentionCase> layers = record_attention(studied, batch, threads);
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (ordered_json row : attention_errors(layers[layer], threads)) {
      row["layer"] = layer;
      all.push_back(row);
    }
    done(static_cast<double>(layer + 1) / static_cast<double>(layers.size()));
  }
  return all;
}

ordered_json order_distances(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                             const PartDone& done) {
  constexpr int kOrders = 3;
  ordered_json all = ordered_json::array();
  const std::vector<AttentionCase> layers = record_attention(studied, batch, threads);
  for (size_t n = 0; n < layers.size(); ++n) {
    const int layer = static_cast<int>(n);
    const AttentionCase x = sequence_of(layers[n], 0);
    const auto run = [](const AttentionCase& inputs, int count) {
      return run_attention(CpuContext{count}, DType::f32, AttentionKind::flash, inputs);
    };
    const auto kernel = run(x, 1);
    const auto exact = run_in_double(x);
    all.push_back(order_row(layer, "the same again", run(x, 1), kernel, exact));
    for (const int count : {2, 3, 4})
      all.push_back(order_row(layer, str_cat(count, " threads"), run(x, count), kernel, exact));
    if (x.shape.NH == x.shape.NKV)
      for (const ladder::Rung& rung : ladder::rungs().first(5))  // the rest computes in the same order as the fifth
        all.push_back(order_row(layer, rung.name, run_rung(rung, x), kernel, exact));
    AttentionCase every_key = x;
    every_key.shape.causal = false, every_key.p = 0;
    const auto unordered = run(every_key, 1);
    const auto exact_unordered = run_in_double(every_key);
    for (uint64_t seed = 1; seed <= kOrders; ++seed) {
      const std::vector<int> order = random_order(x.shape.S, seed);
      all.push_back(order_row(layer, "keys in another order",
                              in_order(run(with_keys_in(every_key, order), 1), every_key, order), unordered,
                              exact_unordered));
    }
    done((layer + 1.0) / static_cast<double>(layers.size()));
  }
  return all;
}

ordered_json gradient_distances(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                const PartDone& done) {
  const GradientWay base{.threads = threads};
  const auto with = [&](auto change) {
    GradientWay way = base;
    change(way);
    return way;
  };
  struct Way {
    std::string name;
    const char* kind;
    GradientWay way;
    StudiedBatch batch;
    DType dtype = DType::f32;
  };
  std::vector<Way> ways = {{"the same again", "same", base, batch},
                           {"recompute", "same", with([](GradientWay& w) { w.recompute = true; }), batch}};
  for (const int count : {1, 2, 3})
    if (count != threads)
      ways.push_back({str_cat(count, count == 1 ? " thread" : " threads"), "rounding",
                      with([&](GradientWay& w) { w.threads = count; }), batch});
  for (int parts = 2; parts <= batch.sequences; parts *= 2) {
    if (batch.sequences % parts) break;
    ways.push_back(
        {str_cat(parts, " micro-batches"), "rounding", with([&](GradientWay& w) { w.parts = parts; }), batch});
    ways.push_back({str_cat(parts, " ranks"), "rounding", with([&](GradientWay& w) { w.ranks = parts; }), batch});
  }
  ways.push_back(
      {"reference attention", "rounding", with([](GradientWay& w) { w.attention = AttentionKind::reference; }), batch});
  ways.push_back({"bf16", "bf16", base, batch, DType::bf16});
  const GptConfig& config = studied.config;
  StudiedBatch other = batch;
  other.mask_seed += 1;
  if (config.attn_dropout > 0 || config.resid_dropout > 0 || config.embd_dropout > 0)
    ways.push_back({"other dropout masks", "noise", base, other});
  other = batch, other.skip = 1;
  ways.push_back({"another batch", "noise", base, other});

  const std::vector<float> whole = gradient_of(*studied.model, studied, batch, base);
  const auto in_bf16 = copy_in(DType::bf16, studied, threads);
  ordered_json all = ordered_json::array();
  for (const Way& way : ways) {
    Model& model = way.dtype == DType::bf16 ? *in_bf16 : *studied.model;
    const std::vector<float> gradient = gradient_of(model, studied, way.batch, way.way);
    ordered_json parameters;
    for (const Parameter& parameter : studied.model->parameters().all())
      parameters[parameter.name] =
          distance_of(gradient.data() + parameter.offset, whole.data() + parameter.offset, parameter.shape.elements());
    all.push_back({{"way", way.name},
                   {"kind", way.kind},
                   {"same_bits", gradient == whole},
                   {"distance", distance_of(gradient.data(), whole.data(), whole.size())},
                   {"parameters", parameters}});
    done(static_cast<double>(all.size()) / static_cast<double>(ways.size()));
  }
  return all;
}

}  // namespace glint
