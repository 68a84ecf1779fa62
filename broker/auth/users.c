#include "broker/auth/users.h"

#include "broker/auth/password.h"

struct user {
    uint8_t *name;
    size_t name_len;
    struct password_hash hash;
    bool loopback_only;
};

struct users {
    struct password_hash nobody; /* stands in for the hash of names that do not exist */
    size_t n;
    struct user user[];
};

static const struct user *
find(const struct users *users, struct slice name)
{
    for (size_t i = 0; i < users->n; i++) {
        if (slice_eq(slice_of(users->user[i].name, users->user[i].name_len), name))
            return &users->user[i];
    }
    return NULL;
}

static bool
add(struct users *users, const struct user_spec *spec)
{
    struct user *user = &users->user[users->n];

    if (find(users, spec->name) != NULL)
        return false;
    if (spec->hash != NULL)
        user->hash = *spec->hash;
    else if (!password_hash(spec->password, &user->hash))
        return false;
    user->name = mem_dup(spec->name.p, spec->name.n);
    user->name_len = spec->name.n;
    user->loopback_only = spec->loopback_only;
    users->n++;
    return true;
}

struct users *
users_new(const struct user_spec *specs, size_t n)
{
    struct users *users = mem_zalloc(sizeof *users + n * sizeof *users->user);

    bool ok = password_hash(slice_of(NULL, 0), &users->nobody);
    for (size_t i = 0; ok && i < n; i++)
        ok = add(users, &specs[i]);
    if (!ok)
        users_free(&users);
    return users;
}

void
users_free(struct users **users)
{
    struct users *u = *users;

    if (u == NULL)
        return;
    for (size_t i = 0; i < u->n; i++)
        free(u->user[i].name);
    free(u);
    *users = NULL;
}

enum users_verdict
users_check(const struct users *users, struct slice name, struct slice password,
            bool peer_is_loopback)
{
    const struct user *user = find(users, name);
    bool right = password_verify(user != NULL ? &user->hash : &users->nobody, password);

    if (user == NULL || !right)
        return USERS_BAD_CREDENTIALS;
    if (user->loopback_only && !peer_is_loopback)
        return USERS_NOT_LOOPBACK;
    return USERS_ACCEPTED;
}
