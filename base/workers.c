#include "base/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t wakeup;
    STAILQ_HEAD(, job) jobs;
    bool stopping;
    unsigned n;
    pthread_t threads[];
};

static void *
work(void *arg)
{
    struct workers *w = arg;
    struct job *job;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        while ((job = STAILQ_FIRST(&w->jobs)) == NULL && !w->stopping)
            pthread_cond_wait(&w->wakeup, &w->lock);
        if (job == NULL)
            break;
        STAILQ_REMOVE_HEAD(&w->jobs, link);
        pthread_mutex_unlock(&w->lock);
        job->run(job);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct workers *
workers_new(unsigned n, const char *name)
{
    struct workers *w = mem_zalloc(sizeof *w + n * sizeof(pthread_t));
    sigset_t all, before;

    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wakeup, NULL);
    STAILQ_INIT(&w->jobs);
    w->n = n;
    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < n; i++) {
        errno = pthread_create(&w->threads[i], NULL, work, w);
        if (errno != 0) {
            perror("pthread_create");
            exit(1);
        }
        pthread_setname_np(w->threads[i], name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return w;
}

void
workers_submit(struct workers *w, struct job *job)
{
    pthread_mutex_lock(&w->lock);
    STAILQ_INSERT_TAIL(&w->jobs, job, link);
    pthread_cond_signal(&w->wakeup);
    pthread_mutex_unlock(&w->lock);
}

void
workers_free(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->wakeup);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->wakeup);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
