/* Scratch memory of the calls: from the start of a cache line on, and the last large block is kept for the next call.

   A C library gives large blocks back to the system when they are freed, at once or as soon as the end of its heap is
   long enough, which depends on what else the program has freed. The next call then takes a page fault for every 4 KB:
   2 to 3 ms for the 12 MB of a deep layer's packed weights, a third of its time. So one block outlives its call. Blocks
   that a C library serves without the system go through it, and what is huge is not worth holding. */
#ifndef FC_SCRATCH_H
#define FC_SCRATCH_H

#include <stdatomic.h>
#include <stdlib.h>

#include "fc_kernels.h"

/* Bytes of the largest block that is kept; the sanitizers' builds keep none, so that they know each call's memory. */
#ifndef FC_SCRATCH_KEPT
#define FC_SCRATCH_KEPT ((size_t)64 << 20)
#endif
#define FC_SCRATCH_SMALL ((size_t)128 << 10)

/* A block's first cache line: its size. */
typedef struct {
    _Alignas(FC_CACHE_LINE) size_t bytes;
} fc_scratch;

static _Atomic(fc_scratch *) fc_kept_scratch;

/* NULL if there is no memory. What is in it is anything. */
static void *fc_take_scratch(size_t bytes) {
    fc_scratch *block = NULL;
    bytes = (bytes + sizeof *block + FC_CACHE_LINE - 1) / FC_CACHE_LINE * FC_CACHE_LINE;
    if (bytes >= FC_SCRATCH_SMALL && bytes <= FC_SCRATCH_KEPT) {
        block = atomic_exchange(&fc_kept_scratch, NULL);
        if (block && block->bytes >= bytes) return block + 1;
        free(block);
    }
    block = aligned_alloc(FC_CACHE_LINE, bytes);
    if (!block) return NULL;
    block->bytes = bytes;
    return block + 1;
}

/* memory: of fc_take_scratch, or NULL. Of two blocks the larger one is kept. */
static void fc_give_scratch(void *memory) {
    fc_scratch *block = memory ? (fc_scratch *)memory - 1 : NULL, *other;
    if (block && block->bytes >= FC_SCRATCH_SMALL && block->bytes <= FC_SCRATCH_KEPT) {
        other = atomic_exchange(&fc_kept_scratch, block);
        block = other && other->bytes > block->bytes ? atomic_exchange(&fc_kept_scratch, other) : other;
    }
    free(block);
}
#endif
