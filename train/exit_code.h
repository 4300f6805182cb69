// Thrown by a command to end the program with a code other than 0, 1 (error) or 2 (usage), without a message.
#pragma once

namespace glint {

// The code of a rank that ended because another one failed.
inline constexpr int kPeerFailed = 3;

struct ExitCode {
  int code;
};

}  // namespace glint
