// What `glint study gradients` measures, as JSON.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "train/study/studied_model.h"

namespace glint {

inline constexpr const char* kResults[] = {"out", "dq", "dk", "dv"};
using ShareDone = std::function<void(double)>;

// The relative errors of attention against double in one call: [{kernel, out, dq, dk, dv}] with these kernels:
inline constexpr const char *kFlash = "flash, fp32", *kReference = "reference, fp32",
                            *kBf16 = "flash, bf16",  // against double of the same inputs, rounded to bf16
                                *kBf16Inputs =
                                    "flash, bf16, with the inputs' rounding",  // against double of the inputs in fp32
                                    *kReferenceBf16 = "reference, bf16",       // the same, each matrix rounded to bf16
                                        *kBestBf16 = "exact results rounded to bf16";
nlohmann::ordered_json attention_errors(const AttentionCase& x, int threads);
// The same of each layer at T: [{layer, T, kernel, ..}].
nlohmann::ordered_json layer_errors(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                    const ShareDone& done);

// What the order of summation does to attention: for each layer and each order the distance of its results from those
// of glint's kernel with one thread (0: the same bits), and the error of both against double:
// [{layer, order, same_bits, out: {distance, error, of_kernel}, ..}].
nlohmann::ordered_json order_distances(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                       const ShareDone& done);

// How far the model's gradient is from that of the whole batch in one process when it is computed in another way:
// [{way, kind, same_bits, distance, parameters: {name: distance}}]; kind: same (the same bits are promised), rounding
// (fp32), bf16, noise (another gradient: what training averages over).
nlohmann::ordered_json gradient_distances(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                          const ShareDone& done);

}  // namespace glint
