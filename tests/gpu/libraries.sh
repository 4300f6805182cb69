#!/usr/bin/env bash
# Shared libraries of prebuilt programs, on a machine without the toolkit they were built with. Sourced by check.sh and
# prebuild.sh.

# Folders that may hold CUDA's libraries: PyTorch's packages first, because PyTorch will load them too, then a toolkit.
library_folders() {
  "$PYTHON" - 2> /dev/null << 'END'
import glob, sys
found = {folder for path in sys.path for folder in glob.glob(path + "/nvidia/*/lib")}
print("\n".join(sorted(found)))
END
  ls -d /usr/local/cuda/lib64 /usr/local/cuda/lib 2> /dev/null
}
# FILE...: the names of what glint loads at run time, if it uses a GPU (kernels/cuda/dynamic_library.h).
loaded_libraries() { grep -haoE 'lib(cublasLt|nccl)\.so\.[0-9]+' "$@" | sort -u || true; }
missing_libraries() { # FILE...: the names that the loader does not find
  local name
  {
    ldd "$@" 2> /dev/null | sed -nE 's/^\s*(\S+) => not found$/\1/p' || true
    for name in $(loaded_libraries "$@"); do
      if LD_PRELOAD=$name /bin/true 2>&1 | grep -q "$name"; then echo "$name"; fi
    done
  } | sort -u
}
# Puts the folders of what the programs in $PREBUILT need, and the loader does not find, into LD_LIBRARY_PATH.
find_libraries() {
  local name folder
  for name in $(missing_libraries "$PREBUILT"/*); do
    while read -r folder; do
      if [ -e "$folder/$name" ]; then
        case :${LD_LIBRARY_PATH:-}: in
          *":$folder:"*) ;;
          *) export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder ;;
        esac
        break
      fi
    done < <(library_folders)
  done
}
