#include "storage/lmdb_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The file is an array of pages. Pages 0 and 1 are headers, written in turn: transaction N writes
 * page N % 2, so that the header with the larger number counts and the other is of the transaction
 * before. A header has the roots of two trees: of the free list, and of the main database, which
 * has the named ones' roots as values. A value that is too large for its leaf has consecutive pages
 * of its own.
 *
 * Every page up to the header's last one is used exactly once, or listed as free exactly once. A
 * bitmap finds those that are met twice. It also bounds the work, since no page is looked at again.
 *
 * All numbers are in the byte order of the machine, and none is trusted before it was compared with
 * what it must be less than.
 */
enum {
    /* A page's header. */
    AT_NUMBER = 0,
    AT_PAGE_FLAGS = 10,
    AT_LOWER = 12, /* end of the offsets of nodes, which stand behind the header */
    AT_UPPER = 14, /* begin of the nodes, which reach to the end of the page */
    AT_RUN = 12,   /* instead of those two: how many pages a large value has */
    PAGE_HEADER = 16,

    /* A header page, from the page's begin. */
    AT_MAGIC = 16,
    AT_VERSION = 20,
    AT_MAP_SIZE = 32,
    AT_FREE_TREE = 40,
    AT_MAIN_TREE = 88,
    AT_LAST_PAGE = 136,
    AT_TXN = 144,
    META_SIZE = 152,

    /* What is recorded of a tree. */
    AT_PAGE_SIZE = 0, /* in the record of the free list only */
    AT_TREE_FLAGS = 4,
    AT_DEPTH = 6,
    AT_BRANCHES = 8,
    AT_LEAVES = 16,
    AT_OVERFLOWS = 24,
    AT_ENTRIES = 32,
    AT_ROOT = 40,
    TREE_SIZE = 48,

    /* A node. In a branch, bytes 0 to 5 are the child's page number. */
    AT_SIZE = 0,
    AT_NODE_FLAGS = 4,
    AT_KEY_SIZE = 6,
    NODE_HEADER = 8,

    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_OVERFLOW = 0x04,
    PAGE_META = 0x08,

    NODE_LARGE = 0x01,    /* the data is the number of the value's first page */
    NODE_DATABASE = 0x02, /* the data is the record of a named database's tree */

    FREE_TREE_FLAGS = 0x08,      /* integer keys */
    FREE_TREE_NOSUBDIR = 0x4000, /* how the environment was opened when it was made */

    KEY_MAX = 511,
    DEPTH_MAX = 32,
    PAGE_SIZE_MAX = 32768,
    N_METAS = 2,
};

#define MAGIC 0xBEEFC0DEu
#define LMDB_FORMAT 1u
#define NO_PAGE UINT64_MAX

enum tree_kind { TREE_FREE, TREE_MAIN, TREE_NAMED };

/* A tree: what is recorded of it, and what was counted. */
struct tree {
    enum tree_kind kind;
    char title[80]; /* for texts */
    uint16_t flags;
    uint16_t depth;
    uint64_t root;
    uint64_t branches, leaves, overflows, entries;
    uint64_t n_branches, n_leaves, n_overflows, n_entries;
    uint64_t n_databases; /* entries that are databases */
};

struct meta {
    uint64_t map_size;
    uint64_t last_page;
    uint64_t txn;
    uint32_t magic;
    uint32_t version;
    uint32_t page_size;
    struct tree free_tree;
    struct tree main_tree;
};

struct check {
    const uint8_t *bytes;
    size_t size;
    size_t page_size;
    uint64_t file_pages; /* that the file has in full */
    uint64_t pages; /* that the header speaks of; the file need not have free ones at the end */
    uint64_t txn;
    uint64_t last_free_txn; /* of the free list's last record */
    uint64_t free_beyond;   /* free pages that the file does not reach */
    enum lmdb_depth depth;
    const char *name;
    struct lmdb_report *report;
    uint64_t *met;                          /* a bit per page: used or listed as free */
    uint64_t taken[PAGE_SIZE_MAX / 2 / 64]; /* a bit per two bytes of the page being checked */
};

/* A page of a tree, and how many nodes it has. */
struct page {
    const uint8_t *p;
    uint64_t number;
    size_t upper;
    unsigned n;
    bool leaf;
};

struct node {
    size_t at;     /* offset in the page */
    size_t length; /* in the page, with what pads it */
    struct slice key;
    uint64_t child; /* branches only */
    uint32_t size;  /* leaves only: of the value, wherever it is */
    uint16_t flags;
    const uint8_t *data;
};

static uint16_t
load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t
load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t
load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* --- what is said --- */

/* A long name loses its begin, so that there is room for what is wrong. */
__attribute__((format(printf, 3, 0))) static void
say(const struct check *c, enum lmdb_verdict verdict, const char *fmt, va_list args)
{
    enum { NAME_MAX_LENGTH = 200 };
    struct lmdb_report *r = c->report;
    size_t len = strlen(c->name), cut = len > NAME_MAX_LENGTH ? len - NAME_MAX_LENGTH : 0;

    r->verdict = verdict;
    int n = snprintf(r->text, sizeof r->text, "%s%s: ", cut != 0 ? "..." : "", c->name + cut);
    vsnprintf(r->text + n, sizeof r->text - (size_t)n, fmt, args);
}

__attribute__((format(printf, 3, 4))) static void
conclude(const struct check *c, enum lmdb_verdict verdict, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(c, verdict, fmt, args);
    va_end(args);
}

/* Always false. Damage ends the search: what follows from it would only confuse. */
__attribute__((format(printf, 2, 3))) static bool
damaged(const struct check *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(c, LMDB_DAMAGED, fmt, args);
    va_end(args);
    return false;
}

/* --- bitmaps --- */

/* Sets n bits from `first` on. False if one of them was set already; `hit_r` tells which. */
static bool
claim(uint64_t *bits, uint64_t first, uint64_t n, uint64_t *hit_r)
{
    while (n != 0) {
        unsigned low = (unsigned)(first % 64), width = n < 64 - low ? (unsigned)n : 64 - low;
        uint64_t mask = (width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1) << low;
        uint64_t *word = &bits[first / 64];

        if ((*word & mask) != 0) {
            *hit_r = first - low + (unsigned)__builtin_ctzll(*word & mask);
            return false;
        }
        *word |= mask;
        first += width;
        n -= width;
    }
    return true;
}

/* `n` pages, maybe none, of a tree that are referred to by page `from`. */
static bool
use_pages(struct check *c, const struct tree *t, uint64_t from, uint64_t first, uint64_t n)
{
    uint64_t hit;

    if (n == 0)
        return true;
    if (first < N_METAS || first >= c->pages || n > c->pages - first)
        return damaged(c,
                       "%s: page %" PRIu64 " refers to %" PRIu64 " pages from page %" PRIu64
                       " on, the last one is %" PRIu64,
                       t->title, from, n, first, c->pages - 1);
    if (first >= c->file_pages || n > c->file_pages - first)
        return damaged(c,
                       "%s: page %" PRIu64 " refers to page %" PRIu64 ", the file ends before it",
                       t->title, from, first + n - 1);
    if (!claim(c->met, first, n, &hit))
        return damaged(c, "%s: page %" PRIu64 " refers to page %" PRIu64 ", which is used twice",
                       t->title, from, hit);
    c->report->used_pages += n;
    return true;
}

static const uint8_t *
page_bytes(const struct check *c, uint64_t number)
{
    return c->bytes + (size_t)number * c->page_size;
}

/* --- nodes and pages --- */

/* The i-th node. False if any part of it is not among the page's nodes. */
static bool
node_get(const struct check *c, const struct page *page, unsigned i, struct node *node)
{
    size_t at = load16(page->p + PAGE_HEADER + 2 * i);

    if (at % 2 != 0 || at < page->upper || at > c->page_size - NODE_HEADER)
        return false;
    const uint8_t *p = page->p + at;
    size_t room = c->page_size - at - NODE_HEADER;
    size_t key_size = load16(p + AT_KEY_SIZE), data_size = 0;
    if (key_size > room)
        return false;
    node->at = at;
    node->key = slice_of(p + NODE_HEADER, key_size);
    node->flags = load16(p + AT_NODE_FLAGS);
    node->size = load32(p + AT_SIZE);
    node->child = node->size | (uint64_t)node->flags << 32;
    node->data = p + NODE_HEADER + key_size;
    if (page->leaf)
        data_size = (node->flags & NODE_LARGE) != 0 ? sizeof(uint64_t) : node->size;
    if (data_size > room - key_size)
        return false;
    node->length = (NODE_HEADER + key_size + data_size + 1) & ~(size_t)1;
    return true;
}

static bool
key_size_ok(const struct tree *t, struct slice key)
{
    return t->kind == TREE_FREE ? key.n == sizeof(uint64_t) : key.n >= 1 && key.n <= KEY_MAX;
}

static int
key_compare(const struct tree *t, struct slice a, struct slice b)
{
    if (t->kind == TREE_FREE) {
        uint64_t x = load64(a.p), y = load64(b.p);
        return x < y ? -1 : x > y;
    }
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order != 0 ? order : a.n < b.n ? -1 : a.n > b.n;
}

/* What is allowed to stand in a leaf of this tree. */
static bool
leaf_node_ok(const struct check *c, const struct tree *t, const struct node *node)
{
    /* LMDB puts a value elsewhere if fewer than two such nodes fit in a page. */
    size_t max = ((c->page_size - PAGE_HEADER) / 2 & ~(size_t)1) - 2;

    if (node->length > max)
        return false;
    if (node->flags == NODE_DATABASE)
        return t->kind == TREE_MAIN && node->size == TREE_SIZE;
    return node->flags == 0 || node->flags == NODE_LARGE;
}

/*
 * The nodes fill the end of the page without gap or overlap, which LMDB relies on when it moves
 * them; and their keys ascend, from `low` on and below `high`. These are NULL where the tree has no
 * key to the left or right.
 */
static bool
check_nodes(struct check *c, const struct tree *t, const struct page *page, struct slice low,
            struct slice high)
{
    size_t sum = 0;
    uint64_t hit;
    struct slice last = low;
    struct node node;
    /* A branch's key is above all keys of the children before it, so not equal to the lower end. */
    bool may_be_equal = page->leaf;

    memset(c->taken, 0, c->page_size / 2 / 8);
    for (unsigned i = 0; i < page->n; i++) {
        if (!node_get(c, page, i, &node) || (page->leaf && !leaf_node_ok(c, t, &node)))
            return damaged(c, "page %" PRIu64 " of %s: node %u is malformed", page->number,
                           t->title, i);
        if (!claim(c->taken, node.at / 2, node.length / 2, &hit))
            return damaged(c, "page %" PRIu64 " of %s: node %u overlaps another one", page->number,
                           t->title, i);
        sum += node.length;
        /* The first child of a branch needs no key; if there is one it means nothing. */
        if (i == 0 && !page->leaf)
            continue;
        if (!key_size_ok(t, node.key))
            return damaged(c, "page %" PRIu64 " of %s: the key of node %u has %zu bytes",
                           page->number, t->title, i, node.key.n);
        if (last.p != NULL && key_compare(t, last, node.key) >= (may_be_equal ? 1 : 0))
            return damaged(c, "page %" PRIu64 " of %s: the key of node %u is out of order",
                           page->number, t->title, i);
        last = node.key;
        may_be_equal = false;
    }
    if (last.p != NULL && high.p != NULL && key_compare(t, last, high) >= 0)
        return damaged(c, "page %" PRIu64 " of %s: its last key belongs to the next page",
                       page->number, t->title);
    if (sum != c->page_size - page->upper)
        return damaged(c, "page %" PRIu64 " of %s: its nodes have %zu bytes instead of %zu",
                       page->number, t->title, sum, c->page_size - page->upper);
    return true;
}

/* The header of a page that is in use now. */
static bool
check_page_header(struct check *c, const struct tree *t, struct page *page)
{
    uint64_t number = load64(page->p + AT_NUMBER);
    unsigned flags = load16(page->p + AT_PAGE_FLAGS);
    unsigned wanted = page->leaf ? PAGE_LEAF : PAGE_BRANCH;
    size_t lower = load16(page->p + AT_LOWER);

    page->upper = load16(page->p + AT_UPPER);
    if (number != page->number)
        return damaged(c, "page %" PRIu64 " of %s says that it is page %" PRIu64, page->number,
                       t->title, number);
    if (flags != wanted)
        return damaged(c, "page %" PRIu64 " of %s has flags 0x%x instead of 0x%x", page->number,
                       t->title, flags, wanted);
    if (lower % 2 != 0 || lower < PAGE_HEADER || lower > page->upper || page->upper > c->page_size)
        return damaged(c, "page %" PRIu64 " of %s has its bounds at %zu and %zu", page->number,
                       t->title, lower, page->upper);
    page->n = (unsigned)(lower - PAGE_HEADER) / 2;
    if (page->n < (page->leaf ? 1 : 2))
        return damaged(c, "page %" PRIu64 " of %s has %u nodes", page->number, t->title, page->n);
    return true;
}

/* --- values --- */

/*
 * How many pages a large value has, by its first page: those that it needs, or more if it was
 * larger earlier in the same transaction. 0 if they are damaged.
 */
static uint64_t
run_length(struct check *c, const struct tree *t, uint64_t first, uint64_t needed)
{
    const uint8_t *p = page_bytes(c, first);
    uint64_t number = load64(p + AT_NUMBER), n = load32(p + AT_RUN);
    unsigned flags = load16(p + AT_PAGE_FLAGS);

    if (number != first)
        damaged(c, "page %" PRIu64 " of %s, of a value, says that it is page %" PRIu64, first,
                t->title, number);
    else if (flags != PAGE_OVERFLOW)
        damaged(c, "page %" PRIu64 " of %s, of a value, has flags 0x%x instead of 0x%x", first,
                t->title, flags, PAGE_OVERFLOW);
    else if (n < needed)
        damaged(c, "page %" PRIu64 " of %s, of a value, has %" PRIu64 " pages instead of %" PRIu64,
                first, t->title, n, needed);
    else
        return n;
    return 0;
}

/* Whether the first page of each value is read anyway; the free list's values are read whole. */
static bool
reads_runs(const struct check *c, const struct tree *t)
{
    return c->depth == LMDB_EVERYTHING || t->kind == TREE_FREE;
}

static uint64_t
pages_needed(const struct check *c, uint32_t size)
{
    return ((uint64_t)size + PAGE_HEADER - 1) / c->page_size + 1;
}

/*
 * A value with pages of its own. Where their header is not to be read, those that the value needs
 * are taken for all.
 */
static bool
check_large(struct check *c, struct tree *t, const struct page *page, const struct node *node)
{
    uint64_t first = load64(node->data), needed = pages_needed(c, node->size), n = needed;

    if (!use_pages(c, t, page->number, first, needed))
        return false;
    if (reads_runs(c, t)) {
        n = run_length(c, t, first, needed);
        if (n == 0 || !use_pages(c, t, page->number, first + needed, n - needed))
            return false;
    }
    t->n_overflows += n;
    return true;
}

/* One record of the free list: a transaction's number, and how many and which pages it freed. */
static bool
check_free_record(struct check *c, const struct page *page, const struct node *node)
{
    uint64_t txn = load64(node->key.p), above = c->pages, hit;
    const uint8_t *list = node->data;
    size_t room = node->size / sizeof(uint64_t);

    if ((node->flags & NODE_LARGE) != 0)
        list = page_bytes(c, load64(node->data)) + PAGE_HEADER;
    if (txn == 0 || txn > c->txn)
        return damaged(c,
                       "page %" PRIu64 " of the free list has a record of transaction %" PRIu64
                       ", the last one was %" PRIu64,
                       page->number, txn, c->txn);
    /* There may be more room than needed: LMDB reserves it before it knows. */
    if (node->size % sizeof(uint64_t) != 0 || room < 1 || load64(list) > room - 1)
        return damaged(c,
                       "page %" PRIu64 " of the free list: transaction %" PRIu64 " has %" PRIu64
                       " pages in %" PRIu32 " bytes",
                       page->number, txn, room < 1 ? 0 : load64(list), node->size);
    for (uint64_t n = load64(list), i = 1; i <= n; i++) {
        uint64_t number = load64(list + i * sizeof(uint64_t));
        if (number < N_METAS || number >= above)
            return damaged(c,
                           "page %" PRIu64 " of the free list: transaction %" PRIu64
                           " has page %" PRIu64 " after %" PRIu64,
                           page->number, txn, number, above);
        if (!claim(c->met, number, 1, &hit))
            return damaged(c,
                           "page %" PRIu64 " is listed as free by transaction %" PRIu64
                           " and is used or listed elsewhere",
                           number, txn);
        if (number >= c->file_pages)
            c->free_beyond++;
        above = number;
        c->report->free_pages++;
    }
    c->last_free_txn = txn;
    return true;
}

/* --- trees --- */

/* For texts: a name is any bytes. */
static void
tree_title(struct tree *t, struct slice name)
{
    char text[33];
    size_t n = name.n < sizeof text ? name.n : sizeof text - 1;

    for (size_t i = 0; i < n; i++)
        text[i] = (char)(name.p[i] >= 0x20 && name.p[i] < 0x7f ? name.p[i] : '?');
    text[n] = '\0';
    snprintf(t->title, sizeof t->title, "database \"%s\"%s", text, n < name.n ? "..." : "");
}

static void
tree_load(struct tree *t, enum tree_kind kind, const uint8_t *p)
{
    *t = (struct tree){
        .kind = kind,
        .flags = load16(p + AT_TREE_FLAGS),
        .depth = load16(p + AT_DEPTH),
        .root = load64(p + AT_ROOT),
        .branches = load64(p + AT_BRANCHES),
        .leaves = load64(p + AT_LEAVES),
        .overflows = load64(p + AT_OVERFLOWS),
        .entries = load64(p + AT_ENTRIES),
    };
    snprintf(t->title, sizeof t->title, "%s",
             kind == TREE_FREE ? "the free list" : "the main database");
}

static bool check_tree(struct check *c, struct tree *t, uint64_t from);

static bool
check_named(struct check *c, const struct page *page, const struct node *node)
{
    struct tree named;

    tree_load(&named, TREE_NAMED, node->data);
    tree_title(&named, node->key);
    c->report->databases++;
    return check_tree(c, &named, page->number);
}

static bool
walk_leaf(struct check *c, struct tree *t, const struct page *page)
{
    struct node node;

    for (unsigned i = 0; i < page->n; i++) {
        node_get(c, page, i, &node);
        if ((node.flags & NODE_LARGE) != 0 && !check_large(c, t, page, &node))
            return false;
        if (t->kind == TREE_FREE && !check_free_record(c, page, &node))
            return false;
        if (node.flags == NODE_DATABASE) {
            t->n_databases++;
            if (!check_named(c, page, &node))
                return false;
        }
    }
    t->n_leaves++;
    t->n_entries += page->n;
    return true;
}

/* The page `number`, to which `from` refers, and all below it. For the keys, see check_nodes(). */
static bool
walk(struct check *c, struct tree *t, uint64_t from, uint64_t number, unsigned level,
     struct slice low, struct slice high)
{
    struct page page = {.number = number, .leaf = level == t->depth};
    struct node node, next;

    if (!use_pages(c, t, from, number, 1))
        return false;
    page.p = page_bytes(c, number);
    if (!check_page_header(c, t, &page) || !check_nodes(c, t, &page, low, high))
        return false;
    if (page.leaf)
        return walk_leaf(c, t, &page);
    t->n_branches++;
    node_get(c, &page, 0, &node);
    for (unsigned i = 0; i < page.n; i++) {
        if (i + 1 < page.n)
            node_get(c, &page, i + 1, &next);
        if (!walk(c, t, number, node.child, level + 1, i == 0 ? low : node.key,
                  i + 1 < page.n ? next.key : high))
            return false;
        node = next;
    }
    return true;
}

/*
 * The pages that large values have beyond those they need. Only for a tree whose pages and values
 * were found in order.
 */
static bool
use_spare_pages(struct check *c, struct tree *t, uint64_t number, unsigned level)
{
    struct page page = {.p = page_bytes(c, number), .number = number, .leaf = level == t->depth};
    struct node node;

    if (!check_page_header(c, t, &page))
        return false;
    for (unsigned i = 0; i < page.n; i++) {
        node_get(c, &page, i, &node);
        if (!page.leaf && !use_spare_pages(c, t, node.child, level + 1))
            return false;
        if (!page.leaf || (node.flags & NODE_LARGE) == 0)
            continue;
        uint64_t first = load64(node.data), needed = pages_needed(c, node.size);
        uint64_t n = run_length(c, t, first, needed);
        if (n == 0 || !use_pages(c, t, number, first + needed, n - needed))
            return false;
        t->n_overflows += n - needed;
    }
    return true;
}

static bool
check_count(struct check *c, const struct tree *t, const char *what, uint64_t counted,
            uint64_t recorded)
{
    if (counted != recorded)
        return damaged(c, "%s has %" PRIu64 " %s, %" PRIu64 " are recorded", t->title, counted,
                       what, recorded);
    return true;
}

/* The tree whose record is in page `from`. */
static bool
check_tree(struct check *c, struct tree *t, uint64_t from)
{
    struct slice none = {NULL, 0};

    if (t->kind != TREE_FREE && t->flags != 0)
        return damaged(c, "%s has flags 0x%x, which are not used here", t->title, t->flags);
    if (t->depth > DEPTH_MAX || (t->depth == 0) != (t->root == NO_PAGE))
        return damaged(c, "%s has its root in page %" PRIu64 " and depth %u", t->title, t->root,
                       t->depth);
    if (t->root != NO_PAGE) {
        if (!walk(c, t, from, t->root, 1, none, none))
            return false;
        if (t->n_overflows < t->overflows && !reads_runs(c, t) &&
            !use_spare_pages(c, t, t->root, 1))
            return false;
    }
    if (t->n_databases != 0 && t->n_databases != t->n_entries)
        return damaged(c, "%s has values among the named databases", t->title);
    return check_count(c, t, "branch pages", t->n_branches, t->branches) &&
           check_count(c, t, "leaf pages", t->n_leaves, t->leaves) &&
           check_count(c, t, "pages of values", t->n_overflows, t->overflows) &&
           check_count(c, t, "entries", t->n_entries, t->entries);
}

/* --- the header --- */

static bool
is_meta(const struct check *c, uint64_t at, uint64_t number)
{
    return c->size >= META_SIZE && at <= c->size - META_SIZE &&
           load16(c->bytes + at + AT_PAGE_FLAGS) == PAGE_META &&
           load64(c->bytes + at + AT_NUMBER) == number;
}

static bool
is_page_size(uint32_t n)
{
    return n >= 256 && n <= 65536 && (n & (n - 1)) == 0;
}

static void
meta_load(struct meta *m, const uint8_t *p)
{
    m->magic = load32(p + AT_MAGIC);
    m->version = load32(p + AT_VERSION);
    m->page_size = load32(p + AT_FREE_TREE + AT_PAGE_SIZE);
    m->map_size = load64(p + AT_MAP_SIZE);
    m->last_page = load64(p + AT_LAST_PAGE);
    m->txn = load64(p + AT_TXN);
    tree_load(&m->free_tree, TREE_FREE, p + AT_FREE_TREE);
    tree_load(&m->main_tree, TREE_MAIN, p + AT_MAIN_TREE);
}

/*
 * What tells another machine's file from a damaged one of ours. The latter disagrees with itself:
 * both headers have the version, and the second one stands where the first one says that pages
 * begin.
 */
static bool
check_foreign(struct check *c)
{
    const uint8_t *p = c->bytes;
    struct meta first, second;
    enum { AT_MAGIC_32 = 12 };

    if (load32(p + AT_MAGIC) == __builtin_bswap32(MAGIC)) {
        conclude(c, LMDB_FOREIGN, "was written by a machine of another byte order");
        return false;
    }
    if (load32(p + AT_MAGIC_32) == MAGIC) {
        conclude(c, LMDB_FOREIGN, "was written by a machine of 32 bits");
        return false;
    }
    meta_load(&first, p);
    if (first.magic != MAGIC)
        return true;
    if (first.page_size != c->page_size && is_page_size(first.page_size) &&
        is_meta(c, first.page_size, 1)) {
        meta_load(&second, p + first.page_size);
        if (second.magic == MAGIC && second.page_size == first.page_size) {
            conclude(c, LMDB_FOREIGN, "has pages of %u bytes, those of this machine have %zu",
                     first.page_size, c->page_size);
            return false;
        }
    }
    if (first.version != LMDB_FORMAT && is_meta(c, c->page_size, 1)) {
        meta_load(&second, p + c->page_size);
        if (second.magic == MAGIC && second.version == first.version) {
            conclude(c, LMDB_FOREIGN, "has LMDB's format %u, this is made for format %u",
                     first.version, LMDB_FORMAT);
            return false;
        }
    }
    return true;
}

static bool
check_meta(struct check *c, unsigned i, struct meta *m)
{
    if (!is_meta(c, i * c->page_size, i))
        return damaged(c, "page %u is not a header", i);
    meta_load(m, c->bytes + i * c->page_size);
    if (m->magic != MAGIC || m->version != LMDB_FORMAT)
        return damaged(c, "page %u, a header, has magic 0x%x and version %u", i, m->magic,
                       m->version);
    if (m->page_size != c->page_size)
        return damaged(c, "page %u, a header, speaks of pages of %u bytes instead of %zu", i,
                       m->page_size, c->page_size);
    if ((m->free_tree.flags & ~(unsigned)FREE_TREE_NOSUBDIR) != FREE_TREE_FLAGS)
        return damaged(c, "page %u, a header, has flags 0x%x", i, m->free_tree.flags);
    return true;
}

static bool
is_blank(const struct meta *m)
{
    return m->free_tree.root == NO_PAGE && m->main_tree.root == NO_PAGE &&
           m->last_page == N_METAS - 1;
}

/*
 * Transaction N writes page N % 2, over that of N - 2. A wrong number would bring back the last
 * transaction but one, without a sign. The numbers of a new environment are both 0, and 0 and 1 are
 * those of a compacted copy.
 *
 * When a header cannot be written, LMDB puts back its old number and last page, not its old trees.
 * So nothing more can be said of the older header's trees; and if N itself became N - 2, it looks
 * like that failure, unless the file grew.
 */
static bool
check_meta_order(struct check *c, const struct meta *metas)
{
    uint64_t even = metas[0].txn, odd = metas[1].txn;

    if (even == 0 && odd == 0) {
        if (!is_blank(&metas[0]) || !is_blank(&metas[1]))
            return damaged(c, "the headers are of no transaction, but there are pages in use");
        return true;
    }
    if (even % 2 != 0 || odd % 2 != 1 || (even + 1 != odd && odd + 1 != even))
        return damaged(c, "the headers are of transactions %" PRIu64 " and %" PRIu64, even, odd);
    const struct meta *newer = &metas[odd > even], *older = &metas[odd < even];
    if (newer->last_page < older->last_page)
        return damaged(
            c, "had %" PRIu64 " pages in transaction %" PRIu64 " and %" PRIu64 " in the next",
            older->last_page + 1, older->txn, newer->last_page + 1);
    return true;
}

/* How many pages there are. Those that the file does not have must at least be listed as free. */
static bool
check_extent(struct check *c, const struct meta *m)
{
    uint64_t missing_max = c->size / sizeof(uint64_t);

    if (m->last_page < N_METAS - 1 || m->last_page >= m->map_size / c->page_size ||
        (m->last_page >= c->file_pages && m->last_page - c->file_pages >= missing_max))
        return damaged(c,
                       "the last page is %" PRIu64 ", but the file has %" PRIu64
                       " and the map is for %" PRIu64,
                       m->last_page, c->file_pages, m->map_size / c->page_size);
    c->pages = m->last_page + 1;
    return true;
}

/* --- all of it --- */

/*
 * A transaction that changes a database which is not empty frees pages, so the free list has a
 * record of it. If the last transaction has none, then the header's number is not its own.
 */
static bool
check_last_txn(struct check *c, const struct meta *older)
{
    if (older->main_tree.root != NO_PAGE && c->last_free_txn != c->txn)
        return damaged(c, "the header is of transaction %" PRIu64 ", the free list of %" PRIu64,
                       c->txn, c->last_free_txn);
    return true;
}

static bool
check_sum(struct check *c)
{
    struct lmdb_report *r = c->report;

    if (c->pages > c->file_pages && c->pages - c->file_pages > c->free_beyond)
        return damaged(c, "has %" PRIu64 " pages, the file ends after %" PRIu64, c->pages,
                       c->file_pages);
    r->lost_pages = c->pages - N_METAS - r->used_pages - r->free_pages;
    return true;
}

static void
report_sound(struct check *c)
{
    struct lmdb_report *r = c->report;
    char lost[64] = "";

    r->pages = c->pages;
    r->txn = c->txn;
    if (r->lost_pages != 0)
        snprintf(lost, sizeof lost, ", %" PRIu64 " neither used nor free", r->lost_pages);
    conclude(c, LMDB_SOUND,
             "is sound: transaction %" PRIu64 ", %u databases, %" PRIu64 " pages used, %" PRIu64
             " free%s",
             r->txn, r->databases, r->used_pages, r->free_pages, lost);
}

static void
check_trees(struct check *c, struct meta *metas)
{
    struct meta *newer = &metas[metas[1].txn > metas[0].txn];
    struct meta *older = &metas[newer == &metas[0]];

    c->txn = newer->txn;
    if (!check_extent(c, newer))
        return;
    /* Untouched parts of a large one cost nothing, so not mem_alloc() and memset(). */
    c->met = calloc((size_t)(c->pages / 64 + 1), sizeof *c->met);
    if (c->met == NULL) {
        conclude(c, LMDB_UNREADABLE, "no memory to look through %" PRIu64 " pages", c->pages);
        return;
    }
    uint64_t from = c->txn % N_METAS;
    if (check_tree(c, &newer->main_tree, from) && check_tree(c, &newer->free_tree, from) &&
        check_last_txn(c, older) && check_sum(c))
        report_sound(c);
    free(c->met);
}

void
lmdb_verify_image(struct slice image, size_t page_size, const char *name, enum lmdb_depth depth,
                  struct lmdb_report *report_r)
{
    struct check c = {
        .bytes = image.p,
        .size = image.n,
        .page_size = page_size,
        .file_pages = image.n / page_size,
        .depth = depth,
        .name = name,
        .report = report_r,
    };
    struct meta metas[N_METAS];

    *report_r = (struct lmdb_report){.verdict = LMDB_DAMAGED};
    if (image.n == 0)
        conclude(&c, LMDB_ABSENT, "is empty");
    else if (image.n < META_SIZE)
        conclude(&c, LMDB_DAMAGED, "has %zu bytes, which is no LMDB environment", image.n);
    else if (check_foreign(&c) && check_meta(&c, 0, &metas[0]) && check_meta(&c, 1, &metas[1]) &&
             check_meta_order(&c, metas))
        check_trees(&c, metas);
}

static void
verify_fd(int fd, struct check *c)
{
    long system_page = sysconf(_SC_PAGESIZE);
    struct stat st;

    if (fstat(fd, &st) != 0) {
        conclude(c, LMDB_UNREADABLE, "%s", strerror(errno));
        return;
    }
    if (!S_ISREG(st.st_mode)) {
        conclude(c, LMDB_UNREADABLE, "is not a file");
        return;
    }
    if (st.st_size == 0) {
        conclude(c, LMDB_ABSENT, "is empty");
        return;
    }
    size_t size = (size_t)st.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        conclude(c, LMDB_UNREADABLE, "%s", strerror(errno));
        return;
    }
    /* Tree pages lie among those of values, which would be read for nothing. */
    madvise(map, size, MADV_RANDOM);
    lmdb_verify_image(slice_of(map, size),
                      system_page < PAGE_SIZE_MAX ? (size_t)system_page : PAGE_SIZE_MAX, c->name,
                      c->depth, c->report);
    munmap(map, size);
}

void
lmdb_verify(const char *path, enum lmdb_depth depth, struct lmdb_report *report_r)
{
    struct check c = {.name = path, .depth = depth, .report = report_r};
    /* Should it be a FIFO, then without waiting for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    *report_r = (struct lmdb_report){.verdict = LMDB_UNREADABLE};
    if (fd < 0) {
        conclude(&c, errno == ENOENT ? LMDB_ABSENT : LMDB_UNREADABLE, "%s", strerror(errno));
        return;
    }
    verify_fd(fd, &c);
    close(fd);
}
