#!/usr/bin/env bash
# Shared libraries of prebuilt programs, on a machine without the toolkit they were built with. Sourced by check.sh.

# Folders that may hold CUDA's libraries: PyTorch's packages first, because PyTorch will load them too, then a toolkit.
library_folders() {
  "$PYTHON" - 2> /dev/null << 'END'
import glob, sys
found = {folder for path in sys.path for folder in glob.glob(path + "/nvidia/*/lib")}
print("\n".join(sorted(found)))
END
  ls -d /usr/local/cuda/lib64 /usr/local/cuda/lib 2> /dev/null
}
missing_libraries() { # FILE...: the names that the loader does not find
  ldd "$@" 2> /dev/null | sed -nE 's/^\s*(\S+) => not found$/\1/p' | sort -u
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
