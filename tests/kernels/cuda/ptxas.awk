# Reads a .cu file, then the log of ptxas -v for it; prints a line for each kernel and architecture: "ok ..." or
# "FAILED ...". Given: source, the name of the .cu file.

# ---- The limits in the source, of all its kernels or of those for one head size.
FNR == NR {
  if ($1 == "//" && $2 == "ptxas") {
    HS = $3 == "HS" ? $4 : "any"
    for (i = 3; i + 2 <= NF; ++i) {
      if ($i == "<=") registers_of[HS] = $(i + 1)
      if ($(i + 1) == "bytes") shared_of[HS] = $i
    }
  }
  next
}

# ---- The log.
/Compiling entry function/ {
  split($0, quoted, "'")
  kernel = quoted[2]
  arch = quoted[4]
  stack = spill = registers = shared = 0
}
# "(C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to ..."
/\(C75[0-9][0-9]\)/ { print "FAILED wgmma (" source "): " $0 }
# The properties of functions that are not inlined count for the kernel that they follow.
/bytes stack frame/ {
  stack += number_before("bytes stack frame")
  spill += number_before("bytes spill stores") + number_before("bytes spill loads")
}
/Used [0-9]+ registers/ {
  match($0, /Used [0-9]+/)
  registers = substr($0, RSTART + 5, RLENGTH - 5) + 0
  shared = number_before("bytes smem")
  judge()
}

function number_before(what,    head, words, count) {
  if (!index($0, what)) return 0
  head = substr($0, 1, index($0, what) - 2)
  count = split(head, words, /[ ,]+/)
  return words[count] + 0
}

function judge(    fault) {
  fault = ""
  if (spill > 0) fault = fault "; " spill " bytes spilled"
  if (stack > 0) fault = fault "; " stack " bytes of local memory"
  noted = match(kernel, /ILi[0-9]+E/) ? substr(kernel, RSTART + 3, RLENGTH - 4) : "any"  # f<32, true> is fILi32ELb1EE
  if (!(noted in registers_of)) noted = "any"
  if (noted in registers_of) {
    if (registers > registers_of[noted] + 0) fault = fault "; allowed are " registers_of[noted] " registers"
    if (shared > shared_of[noted] + 0) fault = fault "; allowed are " shared_of[noted] + 0 " bytes shared"
  } else if (source ~ /\/attention\//) {
    fault = fault "; no limit is noted: '// ptxas <= " registers " registers, " shared " bytes of shared memory'"
  }
  printf "%s %s %s: %d registers, %d bytes shared (%s)%s\n", fault ? "FAILED" : "ok", arch, kernel, registers, shared,
    source, fault
}
