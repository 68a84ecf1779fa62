#include "broker/main/accounts.h"

#include <stdlib.h>

#include "base/log.h"
#include "broker/auth/password.h"
#include "broker/core/broker.h"
#include "broker/core/definitions.h"
#include "broker/main/config.h"

struct account {
    char *name;
    struct password_hash hash;
};

static struct account *
add(struct accounts *a, struct slice name)
{
    a->accounts = mem_resize(a->accounts, a->n + 1, sizeof *a->accounts);
    a->accounts[a->n].name = mem_printf("%.*s", SLICE_FMT(name));
    return &a->accounts[a->n++];
}

void
accounts_recovered(void *ctx, const struct definition *user)
{
    struct accounts *a = ctx;
    struct password_hash hash;

    if (!password_hash_parse(user->password_hash, PASSWORD_SHA256, &hash))
        log_error("store: the password of user '%.*s' is damaged: the user cannot log in",
                  SLICE_FMT(user->name));
    else
        add(a, user->name)->hash = hash;
}

static bool
add_default_user(struct accounts *a, const struct config *config, struct broker *b)
{
    struct account *account = add(a, slice_str(config->default_user));
    struct definition d = {.kind = DEFINITION_USER, .name = slice_str(config->default_user)};
    char text[PASSWORD_TEXT_MAX];
    size_t n;

    if (!password_hash(slice_str(config->default_pass), &account->hash)) {
        log_error("cannot hash the password of user '%s'", config->default_user);
        return false;
    }
    password_hash_print(&account->hash, text);
    d.id = journal_new_id(&b->journal);
    d.password_hash = slice_str(text);
    d.tags = slice_str("administrator");
    uint8_t *payload = definition_encode(&d, &n);
    journal_put_definition(&b->journal, d.id, DEFINITION_USER, slice_of(payload, n));
    free(payload);
    return true;
}

struct users *
accounts_users(struct accounts *a, const struct config *config, struct broker *b)
{
    if (a->n == 0 && !add_default_user(a, config, b))
        return NULL;
    struct user_spec *specs = mem_zalloc(a->n * sizeof *specs);
    for (size_t i = 0; i < a->n; i++)
        specs[i] = (struct user_spec){
            .name = slice_str(a->accounts[i].name),
            .hash = &a->accounts[i].hash,
            .loopback_only = config_user_is_loopback_only(config, a->accounts[i].name),
        };
    struct users *users = users_new(specs, a->n);
    free(specs);
    if (users == NULL)
        log_error("the users cannot be set up: no randomness, or a name occurs twice");
    return users;
}

void
accounts_free(struct accounts *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->accounts[i].name);
    free(a->accounts);
}
