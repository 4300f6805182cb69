# Reads the SASS of one object (cuobjdump --dump-sass, demangled). A kernel's main loop is the backward branch with the
# most tensor core instructions inside. For every pair of kernels whose names differ only in one template argument
# "true" (dropout) against "false", prints the instructions that dropout adds to the loop, for 16 elements of P.
/^[ \t]*code for sm_/ { arch = $3 }
/^[ \t]*Function :/ {
  sub(/^[ \t]*Function : */, "")
  kernel = arch " " $0
  kernels[++kernel_count] = kernel
  next
}
# "        /*0a10*/                   @P0 BRA 0x980 ;"
match($0, /\/\*[0-9a-f][0-9a-f][0-9a-f][0-9a-f]+\*\//) && / ;/ {
  address = hex(substr($0, RSTART + 2, RLENGTH - 4))
  n = ++size[kernel]
  at[kernel, n] = address
  mma[kernel, n] = mma[kernel, n - 1] + tiles_of($0)
  useful[kernel, n] = useful[kernel, n - 1] + ($0 !~ / NOP/)
  if (match($0, /BRA(\.[A-Z.]+)? .*0x[0-9a-f]+/)) {
    match($0, /0x[0-9a-f]+/)
    target = hex(substr($0, RSTART + 2, RLENGTH - 2))
    if (target < address) keep_loop(kernel, target, n)
  }
}

function hex(digits,    value, i) {
  value = 0
  for (i = 1; i <= length(digits); ++i) value = 16 * value + index("0123456789abcdef", substr(digits, i, 1)) - 1
  return value
}

# Products of 16 x 8 x 16 in an instruction of a warp: HMMA is one, a warp's part of HGMMA.64x128x16 sixteen.
function tiles_of(line) {
  if (line ~ /HMMA/) return 1
  if (!match(line, /HGMMA\.64x[0-9]+/)) return 0
  return substr(line, RSTART + 9, RLENGTH - 9) / 8
}

# The loop with most products; of two such, the shorter one. What comes behind it and branches to before it is a loop
# around it, which adds at most twice what it has; or into it, code that waits for an mbarrier.
function keep_loop(kernel, target, last,    first, products, length_) {
  for (first = last; first > 1 && at[kernel, first - 1] >= target; --first) {}
  products = mma[kernel, last] - mma[kernel, first - 1]
  length_ = useful[kernel, last] - useful[kernel, first - 1]
  if (loop_mma[kernel] && target != loop_start[kernel] && target <= loop_end[kernel] &&
      products <= 3 * loop_mma[kernel]) return
  if (products > loop_mma[kernel] || (products == loop_mma[kernel] && length_ < loop_size[kernel])) {
    loop_start[kernel] = target
    loop_end[kernel] = at[kernel, last]
    loop_mma[kernel] = products
    loop_size[kernel] = length_
  }
}

# How many products of 16 x 16 x 8 a kernel's loop has for every 16 x 8 tile of P and 16 channels. In that of Hopper's
# backward, S and dP stand twice, and dQ three times, half of it or, of 64 channels, that of two tiles.
function products_of(name) {
  if (name ~ /sm90::backward_kernel/) return name ~ /<(\(int\))?64/ ? 6 : 4.5
  return name ~ /backward_keys/ ? 4 : name ~ /backward_queries/ ? 3 : 2
}

END {
  for (i = 1; i <= kernel_count; ++i) {
    for (j = 1; j <= kernel_count; ++j) {
      with = kernels[i]
      twin = kernels[j]
      plain = with
      if (!loop_mma[with] || !loop_mma[twin] || !sub(/true/, "false", plain) || plain != twin) continue
      match(with, /<[0-9(int)]+/)
      HS = substr(with, RSTART + 1, RLENGTH - 1)
      gsub(/[^0-9]/, "", HS)
      sixteens = 4 * loop_mma[with] / (HS * products_of(with))
      printf "dropout in %s: %.1f instructions for 16 elements (main loop %d, without %d, %d products)\n", with,
             (loop_size[with] - loop_size[twin]) / sixteens, loop_size[with], loop_size[twin], loop_mma[with]
    }
  }
}
