#include "perf/verify.h"

#include <pthread.h>
#include <string.h>

/* Messages seen of one producer by one queue. */
struct seen {
    uint64_t *bits;
    size_t n; /* words */
};

struct verify {
    pthread_mutex_t lock;
    unsigned producers, queues;
    struct verify_result result;
    struct seen seen[]; /* [producers * queues] */
};

struct verify *
verify_new(unsigned producers, unsigned queues)
{
    struct verify *v = mem_zalloc(sizeof *v + (size_t)producers * queues * sizeof *v->seen);

    pthread_mutex_init(&v->lock, NULL);
    v->producers = producers;
    v->queues = queues;
    return v;
}

void
verify_free(struct verify **verify)
{
    struct verify *v = *verify;

    if (v == NULL)
        return;
    for (size_t i = 0; i < (size_t)v->producers * v->queues; i++)
        free(v->seen[i].bits);
    pthread_mutex_destroy(&v->lock);
    free(v);
    *verify = NULL;
}

/* Sets a bit; true when it was not set yet. */
static bool
mark(struct seen *seen, uint32_t sequence)
{
    size_t word = sequence / 64;
    uint64_t bit = (uint64_t)1 << sequence % 64;

    if (word >= seen->n) {
        size_t n = (word + 1) * 2;
        seen->bits = mem_resize(seen->bits, n, sizeof *seen->bits);
        memset(seen->bits + seen->n, 0, (n - seen->n) * sizeof *seen->bits);
        seen->n = n;
    }
    bool is_new = (seen->bits[word] & bit) == 0;
    seen->bits[word] |= bit;
    return is_new;
}

void
verify_message(struct verify *v, unsigned producer, unsigned queue, uint32_t sequence,
               bool redelivered)
{
    pthread_mutex_lock(&v->lock);
    if (producer >= v->producers || queue >= v->queues)
        v->result.foreign++;
    else if (mark(&v->seen[(size_t)producer * v->queues + queue], sequence))
        v->result.distinct++;
    else if (!redelivered)
        v->result.duplicates++;
    pthread_mutex_unlock(&v->lock);
}

void
verify_disorder(struct verify *v)
{
    pthread_mutex_lock(&v->lock);
    v->result.out_of_order++;
    pthread_mutex_unlock(&v->lock);
}

struct verify_result
verify_result(struct verify *v)
{
    pthread_mutex_lock(&v->lock);
    struct verify_result result = v->result;
    pthread_mutex_unlock(&v->lock);
    return result;
}
