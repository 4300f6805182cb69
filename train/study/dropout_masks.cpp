// glint study dropout: what one output, and the mask itself, look like over many masks.
#include <algorithm>
#include <cmath>

#include "src/measure/attention_mask.h"
#include "src/measure/dropout_moments.h"
#include "train/head_mask.h"
#include "train/study/dropout.h"

namespace glint {

using nlohmann::ordered_json;

namespace {

ordered_json to_json(const Estimate& x) { return {x.mean, x.error}; }

ordered_json moments_of(const DropoutFlags& flags, const DropoutRow& row) {
  const MomentSettings settings{.heads = flags.heads,
                                .T = flags.context,
                                .HS = flags.embd / flags.heads,
                                .p = static_cast<float>(flags.dropout),
                                .masks = flags.masks,
                                .seed = flags.seed};
  const DropoutMoments x = measure_moments(settings, row.kind, row.variant);
  return {{"name", row.name},       {"scale", to_json(x.scale)},       {"distance", x.distance},
          {"chance", x.chance},     {"variance", to_json(x.variance)}, {"lost_rows", x.lost_rows},
          {"same_lse", x.same_lse}, {"row_variance", x.row_variance},  {"row_formula", x.row_formula}};
}

// Calls kept(i, j) for what the fused kernel keeps of a head.
template <typename Kept>
void draw_head(int T, float p, const RngState& rng, const Kept& kept) {
  draw_by_kernel(CpuContext{}, DType::f32, AttentionKind::flash, {T, T, p, rng}, kept);
}

bool draws_flash_attention_2_mask() {
  HeadMask mask(512, 512);
  draw_head(512, 0.1f, {.seed = kFlashAttention2Seed}, [&](int64_t i, int64_t j) { mask.keep(i, j); });
  return mask.sha256() == kFlashAttention2Sha256;
}

ordered_json rates_of(const DropoutFlags& flags, const PartDone& done) {
  const int T = flags.context, heads = std::max(64, flags.masks / 4);
  const double q = kept_rate(static_cast<float>(flags.dropout));
  std::vector<double> rows(static_cast<size_t>(T));
  double diagonal = 0, all = 0;
  for (int head = 0; head < heads; ++head) {
    done(static_cast<double>(head) / heads);
    const RngState rng{.seed = flags.seed, .first_sequence = static_cast<uint64_t>(head)};
    draw_head(T, static_cast<float>(flags.dropout), rng, [&](int64_t i, int64_t j) {
      if (j > i) return;  // not seen
      rows[static_cast<size_t>(i)] += 1, all += 1, diagonal += i == j;
    });
  }
  double largest = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double n = heads * static_cast<double>(i + 1);
    rows[i] /= n;
    largest = std::max(largest, std::abs(rows[i] - q) / std::sqrt(q * (1 - q) / n));
  }
  const double n = static_cast<double>(heads) * T, others = n * (T - 1) / 2;
  const auto rate = [&](double kept, double of) { return to_json({kept / of, std::sqrt(q * (1 - q) / of)}); };
  return {{"q", q},
          {"diagonal", rate(diagonal, n)},
          {"others", rate(all - diagonal, others)},
          {"largest_row", largest},
          {"chance_of_row", 1 - std::pow(1 - std::erfc(largest / std::sqrt(2.0)), T)},
          {"rows", rows},
          {"heads", heads},
          {"golden", draws_flash_attention_2_mask()}};
}

}  // namespace

std::vector<StudyUnit> moments_units(const DropoutFlags& flags) {
  const std::vector<DropoutRow> rows = dropout_rows(flags);
  std::vector<StudyUnit> units;
  for (size_t n = kFused; n < rows.size(); ++n) {  // then the plain kernel's variants
    DropoutRow row = rows[n];
    if (n > kFused && (row.kind == AttentionKind::flash || row.variant == DropoutVariant::stored_mask)) continue;
    if (n == kFused) row.name = "fused kernel";
    const auto work = [flags, row](const PartDone&) { return moments_of(flags, row); };
    units.push_back({.name = "moments, " + row.name, .cost = 1.0 * flags.masks, .settings = {}, .work = work});
  }
  return units;
}

StudyUnit rates_unit(const DropoutFlags& flags) {
  return {.name = "rates", .cost = 1.0 * flags.masks, .settings = {}, .work = [flags](const PartDone& done) {
            return rates_of(flags, done);
          }};
}

}  // namespace glint
