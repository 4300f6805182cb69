# Looks for CUDA and NCCL: GLINT_WITH_CUDA, GLINT_WITH_NCCL. Included by the root, where languages are enabled.
set(GLINT_CUDA AUTO CACHE STRING "Build for NVIDIA GPUs: AUTO (where a CUDA toolkit is found), ON, OFF")
set_property(CACHE GLINT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(GLINT_CUDA_OLDEST 12.4)

# What is wrong with CUDA here, or nothing.
set(GLINT_CUDA_FAULT)
if(GLINT_CUDA STREQUAL "OFF")
  set(GLINT_CUDA_FAULT "GLINT_CUDA=OFF")
else()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(GLINT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(GLINT_NVCC)
    if(GLINT_NVCC)
      set(ENV{CUDACXX} ${GLINT_NVCC}) # check_language() tries it with the host compiler
    endif()
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    # 90: its machine code, and PTX for what comes later; 90a: Hopper's attention kernels
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90 90a-real)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(GLINT_CUDA_FAULT
      "no CUDA compiler that works was found: put nvcc on the PATH, or set CUDACXX or -DCMAKE_CUDA_COMPILER")
  else()
    enable_language(CUDA)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS GLINT_CUDA_OLDEST)
      set(GLINT_CUDA_FAULT
        "${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}; ${GLINT_CUDA_OLDEST} or later is needed")
    endif()
  endif()
endif()

set(GLINT_WITH_CUDA OFF)
if(NOT GLINT_CUDA_FAULT)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25.1 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
  set(GLINT_WITH_CUDA ON)
  message(STATUS
    "CUDA: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
  # 90a is for the kernels that need it; the others are compiled for the rest, or for 90a where nothing else is named.
  set(GLINT_SM90A OFF)
  set(GLINT_CUDA_COMMON ${CMAKE_CUDA_ARCHITECTURES})
  if(CMAKE_CUDA_ARCHITECTURES MATCHES "90a")
    set(GLINT_SM90A ON)
    list(FILTER GLINT_CUDA_COMMON EXCLUDE REGEX "^90a")
    if(GLINT_CUDA_COMMON)
      set(CMAKE_CUDA_ARCHITECTURES ${GLINT_CUDA_COMMON})
    endif()
  endif()
elseif(GLINT_CUDA STREQUAL "ON")
  message(FATAL_ERROR "CUDA was asked for (GLINT_CUDA=ON), but ${GLINT_CUDA_FAULT}. Or use GLINT_CUDA=OFF.")
else()
  message(STATUS "CUDA: not used (${GLINT_CUDA_FAULT})")
endif()

# NCCL 2.18: communicators that do not block, and are finalized.
if(GLINT_WITH_CUDA)
  glint_find_optional(NCCL NCCL "several ranks on GPUs" 2.18)
elseif(GLINT_NCCL STREQUAL "ON")
  message(FATAL_ERROR "NCCL was asked for (GLINT_NCCL=ON), but this build has no CUDA. Or use GLINT_NCCL=OFF.")
endif()
