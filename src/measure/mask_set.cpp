#include "src/measure/mask_set.h"

namespace glint {

namespace {

void count(std::vector<uint64_t>& counts, const PhiloxCounter& draw) {
  for (int index = 0; index < 16; ++index) ++counts[byte_of(draw, index)];
}

}  // namespace

MaskPlace place_of(const MaskAxes& axes, uint64_t seed, int mask) {
  const uint64_t site = dropout_offsets(static_cast<uint64_t>(axes.sequences), static_cast<uint64_t>(axes.heads));
  const int head = mask % (axes.sequences * axes.heads), layer = mask / (axes.sequences * axes.heads) % axes.layers;
  const auto step = static_cast<uint64_t>(mask / (axes.sequences * axes.heads * axes.layers));
  return {.rng = {.seed = seed, .offset = step * static_cast<uint64_t>(axes.layers) * site, .step = step},
          .site = static_cast<uint64_t>(layer) * site,
          .heads = axes.heads,
          .b = head / axes.heads,
          .h = head % axes.heads};
}

void draw_mask(MaskSet& set, int to, float p, const MaskPlace& place) {
  const DropoutMask drawn(Dropout(p, &place.rng, place.site), place.heads, place.b, place.h);
  const auto T = static_cast<uint32_t>(set.axes().T);
  for (uint32_t i = 0; i < T; ++i) {
    uint64_t* const row = set.row(to, static_cast<int>(i));
    for (uint32_t j = 0; j < T; ++j) row[j / 64] |= uint64_t{drawn.keeps_attention(i, j)} << (j % 64);
  }
}

std::vector<uint64_t> count_attention_bytes(const MaskAxes& axes, uint64_t seed) {
  std::vector<uint64_t> counts(256);
  const auto T = static_cast<uint32_t>(axes.T);
  for (int mask = 0; mask < axes.masks(); ++mask) {
    const MaskPlace place = place_of(axes, seed, mask);
    const auto head = static_cast<uint64_t>(place.b * axes.heads + place.h);
    for (uint32_t block = 0; block < (T / 16) * (T / 32); ++block)
      for (uint32_t lane = 0; lane < 32; ++lane)
        count(counts,
              draw_attention(seed, place.rng.offset + place.site, head, block / (T / 32), block % (T / 32), lane));
  }
  return counts;
}

std::vector<uint64_t> count_row_bytes(const MaskAxes& axes, uint64_t seed) {
  std::vector<uint64_t> counts(256);
  const auto T = static_cast<uint32_t>(axes.T);
  for (int mask = 0; mask < axes.masks(); ++mask) {  // each as one sequence of a site of T channels
    const uint64_t offset = static_cast<uint64_t>(mask) * dropout_offsets(1, 1);
    for (uint32_t t = 0; t < T; ++t)
      for (uint32_t group = 0; group < T / 16; ++group) count(counts, draw_row(seed, offset, 0, t, group));
  }
  return counts;
}

}  // namespace glint
