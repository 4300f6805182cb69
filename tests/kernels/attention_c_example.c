/* libglint_attention from C99: two queries that see one and two keys, on the CPU. Prints the output; the status is 0 if
   it is right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "attention_c.h"

enum { TOKENS = 2, HEADS = 1, CHANNELS = 8 };

int main(void) {
  float q[TOKENS * CHANNELS] = {0}, k[TOKENS * CHANNELS] = {0}, v[TOKENS * CHANNELS], out[TOKENS * CHANNELS];
  float lse[TOKENS];
  size_t i;
  int wrong = 0;
  glint_attention_arguments a = {0};
  const glint_attention_array contiguous = {NULL, TOKENS * HEADS * CHANNELS, HEADS * CHANNELS, CHANNELS};

  for (i = 0; i < TOKENS * CHANNELS; ++i) v[i] = (float)i;
  a.size = sizeof a;
  a.device = GLINT_ATTENTION_CPU;
  a.dtype = GLINT_ATTENTION_FP32;
  a.batch = 1;
  a.queries = a.keys = TOKENS;
  a.heads = a.kv_heads = HEADS;
  a.head_size = CHANNELS;
  a.causal = 1;
  a.q = a.k = a.v = a.out = contiguous;
  a.q.data = q;
  a.k.data = k;
  a.v.data = v;
  a.out.data = out;
  a.lse = lse;
  if (glint_attention_workspace(&a, &a.workspace_size, NULL) != GLINT_ATTENTION_OK) return 1;
  a.workspace = a.workspace_size ? malloc(a.workspace_size) : NULL;
  if (glint_attention_forward(&a) != GLINT_ATTENTION_OK) {
    fprintf(stderr, "%s\n", glint_attention_error());
    return 1;
  }
  free(a.workspace);
  for (i = 0; i < CHANNELS; ++i) {
    const float first = out[i], second = out[CHANNELS + i];
    printf("%g %g\n", first, second);
    if (fabs(first - v[i]) > 1e-5 || fabs(second - (v[i] + v[CHANNELS + i]) / 2) > 1e-5) wrong = 1;
  }
  if (fabs(lse[0]) > 1e-6 || fabs(lse[1] - log(2.0)) > 1e-6) wrong = 1;
  return wrong;
}
