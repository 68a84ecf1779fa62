/*
 * Topic exchanges: a trie of the words of binding keys. A message's key is matched against all
 * patterns at once, word by word, with the set of trie nodes reached so far; a node enters a set
 * once, so that the work is bounded by words x nodes however many '#' the patterns have. The
 * literal children of all nodes share one hash table, keyed by parent and word.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/exchange.h"

struct node {
    struct node *parent;
    struct node *star, *hash; /* children for '*' and '#' */
    struct binding_place bindings;
    uint32_t id;         /* part of the children's hash */
    uint32_t n_children; /* of all kinds */
    uint32_t n_words;    /* of them, those in the table */
    bool is_hash;
    uint64_t step; /* the last matching step in whose set it is */
    struct slice word;
};

/* A literal child in the table of an exchange. */
struct edge {
    uint64_t hash;
    struct node *child; /* NULL: free */
};

struct topic {
    struct node root;
    struct edge *edges; /* open addressing, linear probing */
    size_t n_edges, cap_edges;
    uint32_t last_id;
    uint64_t step;
    struct node **now, **next; /* sets of nodes, each with room for all of them */
    size_t n_now, n_next, n_nodes, cap_nodes;
};

/* --- the table of literal children --- */

static uint64_t
word_hash(struct slice word)
{
    return XXH3_64bits_withSeed(word.p, word.n, htab_seed);
}

static uint64_t
edge_hash(const struct node *parent, uint64_t word)
{
    return (word ^ parent->id) * 0x9e3779b97f4a7c15U;
}

static size_t
edge_place(const struct topic *t, uint64_t hash)
{
    return (size_t)(hash >> 32) & (t->cap_edges - 1);
}

static struct node *
edge_find(const struct topic *t, const struct node *parent, struct slice word, uint64_t hash)
{
    if (t->cap_edges == 0)
        return NULL;
    for (size_t i = edge_place(t, hash);; i = (i + 1) & (t->cap_edges - 1)) {
        const struct edge *e = &t->edges[i];
        if (e->child == NULL)
            return NULL;
        if (e->hash == hash && e->child->parent == parent && slice_eq(e->child->word, word))
            return e->child;
    }
}

static void
edge_put(struct topic *t, uint64_t hash, struct node *child)
{
    size_t i = edge_place(t, hash);

    while (t->edges[i].child != NULL)
        i = (i + 1) & (t->cap_edges - 1);
    t->edges[i] = (struct edge){hash, child};
}

static void
edge_add(struct topic *t, uint64_t hash, struct node *child)
{
    if (2 * (t->n_edges + 1) > t->cap_edges) {
        struct edge *old = t->edges;
        size_t n = t->cap_edges;
        t->cap_edges = n == 0 ? 16 : 2 * n;
        t->edges = mem_zalloc(t->cap_edges * sizeof *t->edges);
        for (size_t i = 0; i < n; i++) {
            if (old[i].child != NULL)
                edge_put(t, old[i].hash, old[i].child);
        }
        free(old);
    }
    edge_put(t, hash, child);
    t->n_edges++;
}

static void
edge_remove(struct topic *t, const struct node *child)
{
    size_t mask = t->cap_edges - 1;
    size_t i = edge_place(t, edge_hash(child->parent, word_hash(child->word)));

    while (t->edges[i].child != child)
        i = (i + 1) & mask;
    /* Close the gap: whatever behind it probed past it moves up. */
    for (size_t j = (i + 1) & mask; t->edges[j].child != NULL; j = (j + 1) & mask) {
        size_t home = edge_place(t, t->edges[j].hash);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            t->edges[i] = t->edges[j];
            i = j;
        }
    }
    t->edges[i].child = NULL;
    t->n_edges--;
}

/* --- nodes --- */

/* Takes the next word off a key; false at its end. The empty key has no words, "a." has two. */
struct words {
    const uint8_t *p, *end;
    bool more;
};

static struct words
words_of(struct slice key)
{
    return (struct words){key.p, key.p + key.n, key.n != 0};
}

static bool
next_word(struct words *w, struct slice *word_r)
{
    if (!w->more)
        return false;
    const uint8_t *dot = memchr(w->p, '.', (size_t)(w->end - w->p));
    w->more = dot != NULL;
    if (dot == NULL)
        dot = w->end;
    *word_r = slice_of(w->p, (size_t)(dot - w->p));
    w->p = dot + w->more;
    return true;
}

static struct node *
child_find(struct topic *t, struct node *parent, struct slice word)
{
    if (slice_is(word, "*"))
        return parent->star;
    if (slice_is(word, "#"))
        return parent->hash;
    return edge_find(t, parent, word, edge_hash(parent, word_hash(word)));
}

static void
reserve_sets(struct topic *t)
{
    if (++t->n_nodes <= t->cap_nodes)
        return;
    t->cap_nodes = t->cap_nodes == 0 ? 16 : 2 * t->cap_nodes;
    t->now = mem_resize(t->now, t->cap_nodes, sizeof *t->now);
    t->next = mem_resize(t->next, t->cap_nodes, sizeof *t->next);
}

static struct node *
child_add(struct topic *t, struct node *parent, struct slice word)
{
    struct node *n = mem_zalloc(sizeof *n + word.n);

    if (word.n != 0)
        memcpy(n + 1, word.p, word.n);
    n->word = slice_of(n + 1, word.n);
    n->parent = parent;
    n->id = ++t->last_id;
    LIST_INIT(&n->bindings);
    parent->n_children++;
    if (slice_is(word, "*")) {
        parent->star = n;
    } else if (slice_is(word, "#")) {
        n->is_hash = true;
        parent->hash = n;
    } else {
        parent->n_words++;
        edge_add(t, edge_hash(parent, word_hash(word)), n);
    }
    reserve_sets(t);
    return n;
}

/* Removes a node that leads nowhere, and its parents that do not any more. */
static void
prune(struct topic *t, struct node *n)
{
    while (n != &t->root && n->n_children == 0 && LIST_EMPTY(&n->bindings)) {
        struct node *parent = n->parent;
        if (parent->star == n) {
            parent->star = NULL;
        } else if (parent->hash == n) {
            parent->hash = NULL;
        } else {
            edge_remove(t, n);
            parent->n_words--;
        }
        parent->n_children--;
        t->n_nodes--;
        free(n);
        n = parent;
    }
}

/* --- the exchange type --- */

static void
topic_add(struct exchange *x, struct binding *b)
{
    struct words words = words_of(b->key);
    struct topic *t = x->table;
    struct slice word;

    if (t == NULL) {
        t = x->table = mem_zalloc(sizeof *t);
        LIST_INIT(&t->root.bindings);
        reserve_sets(t);
    }
    struct node *n = &t->root;
    while (next_word(&words, &word)) {
        struct node *child = child_find(t, n, word);
        n = child != NULL ? child : child_add(t, n, word);
    }
    b->place = n;
    LIST_INSERT_HEAD(&n->bindings, b, place_link);
}

static void
topic_remove(struct exchange *x, struct binding *b)
{
    LIST_REMOVE(b, place_link);
    prune(x->table, b->place);
}

/* Adds a node to the next set, with the nodes that its '#' child reaches by zero words. */
static void
enter(struct topic *t, struct node *n)
{
    for (; n != NULL && n->step != t->step; n = n->hash) {
        n->step = t->step;
        t->next[t->n_next++] = n;
    }
}

static void
swap_sets(struct topic *t)
{
    struct node **set = t->now;

    t->now = t->next;
    t->n_now = t->n_next;
    t->next = set;
    t->n_next = 0;
    t->step++;
}

static void
advance(struct topic *t, struct slice word)
{
    uint64_t hash = word_hash(word);

    for (size_t i = 0; i < t->n_now; i++) {
        struct node *n = t->now[i];
        if (n->is_hash)
            enter(t, n);
        enter(t, n->star);
        if (n->n_words != 0)
            enter(t, edge_find(t, n, word, edge_hash(n, hash)));
    }
    swap_sets(t);
}

static void
topic_route(struct exchange *x, struct slice key, struct route *r)
{
    struct words words = words_of(key);
    struct topic *t = x->table;
    struct slice word;
    struct binding *b;

    if (t == NULL)
        return;
    t->step++;
    t->n_next = 0;
    enter(t, &t->root);
    swap_sets(t);
    while (t->n_now != 0 && next_word(&words, &word))
        advance(t, word);
    for (size_t i = 0; i < t->n_now; i++) {
        LIST_FOREACH (b, &t->now[i]->bindings, place_link)
            route_add(r, b);
    }
}

static void
topic_fini(struct exchange *x)
{
    struct topic *t = x->table;

    if (t == NULL)
        return;
    free(t->edges);
    free(t->now);
    free(t->next);
    free(t);
}

const struct exchange_type exchange_topic = {
    .name = "topic",
    .add = topic_add,
    .remove = topic_remove,
    .route = topic_route,
    .fini = topic_fini,
};
