// `glint study gradients`: what it measures, as JSON, and the tables, claims and pictures of that.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "train/study/studied_model.h"
#include "train/study/study.h"

namespace glint {

inline constexpr const char* kResults[] = {"out", "dq", "dk", "dv"};

// The relative errors of attention against double in one call: [{kernel, out, dq, dk, dv}] with these kernels:
inline constexpr const char *kFlash = "flash, fp32", *kReference = "reference, fp32";
inline constexpr const char* kBf16 = "flash, bf16";               // against double of the same inputs, rounded to bf16
inline constexpr const char* kReferenceBf16 = "reference, bf16";  // the same, each matrix rounded to bf16
inline constexpr const char* kBf16Inputs = "flash, bf16, with the inputs' rounding";  // against double of fp32 inputs
inline constexpr const char* kBestBf16 = "exact results rounded to bf16";
nlohmann::ordered_json attention_errors(const AttentionCase& x, int threads);
// The same of each layer at T: [{layer, T, kernel, ..}].
nlohmann::ordered_json layer_errors(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                    const PartDone& done);

// What the order of summation does to attention: for each layer and each order the distance of its results from those
// of glint's kernel with one thread (0: the same bits), and the error of both against double:
// [{layer, order, same_bits, out: {distance, error, of_kernel}, ..}].
nlohmann::ordered_json order_distances(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                       const PartDone& done);

// How far the model's gradient is from that of the whole batch in one process when it is computed in another way:
// [{way, kind, same_bits, distance, parameters: {name: distance}}]; kind: same (the same bits are promised), rounding
// (fp32), bf16, noise (another gradient: what training averages over).
nlohmann::ordered_json gradient_distances(const StudiedModel& studied, const StudiedBatch& batch, int threads,
                                          const PartDone& done);

// One line for each claim; `good` becomes false where one does not hold.
struct Claims {
  bool good = true;
  std::string text{};

  void add(bool holds, const std::string& claim);
};

// Of attention_errors(): the worst layer at each T. where: "in each layer".
std::string error_table(const nlohmann::ordered_json& rows);
void check_errors(Claims& claims, const nlohmann::ordered_json& rows, const std::string& where);
// Of order_distances().
std::string order_table(const nlohmann::ordered_json& rows);
void check_orders(Claims& claims, const nlohmann::ordered_json& rows);
// Of gradient_distances().
std::string distance_table(const nlohmann::ordered_json& ways);
void check_ways(Claims& claims, const nlohmann::ordered_json& ways);

// Errors by layer and T: a row of heatmaps for each kernel.
std::string layers_picture(const nlohmann::ordered_json& rows, const std::vector<std::string>& kernels);
// Errors over T, a line for each kernel.
std::string random_picture(const nlohmann::ordered_json& rows);
// Distances of the model's gradient by layer and tensor: a heatmap for each way that moves it.
std::string distances_picture(const nlohmann::ordered_json& ways, int layers);

}  // namespace glint
