package interop;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs tests one after the other, each with a time limit, and prints their results. */
final class Runner {
    private static final long TEST_LIMIT_SECONDS = 30;

    private int passed;
    private int failed;

    /** The body of a test. */
    interface Body {
        void run(Fixture fixture) throws Exception;
    }

    void run(String name, Body body) {
        Fixture fixture = new Fixture(name);
        String failure = attempt(() -> body.run(fixture));
        String cleaning = attempt(fixture::close);
        if (failure == null && cleaning != null) {
            failure = "cleaning up: " + cleaning;
        }
        if (failure == null) {
            passed++;
            System.out.println("ok " + name);
        } else {
            failed++;
            System.out.println("not ok " + name + ": " + failure);
        }
    }

    int summary() {
        System.out.println(passed + " passed, " + failed + " failed");
        return failed == 0 ? 0 : 1;
    }

    private interface Step {
        void run() throws Exception;
    }

    /** Returns what went wrong, or null. */
    private static String attempt(Step step) {
        FutureTask<Void> task = new FutureTask<>(() -> {
            step.run();
            return null;
        });
        Thread thread = new Thread(task, "test");
        thread.setDaemon(true);
        thread.start();
        try {
            task.get(TEST_LIMIT_SECONDS, TimeUnit.SECONDS);
            return null;
        } catch (TimeoutException e) {
            task.cancel(true);
            return "not finished after " + TEST_LIMIT_SECONDS + " s";
        } catch (ExecutionException e) {
            return describe(e.getCause());
        } catch (InterruptedException e) {
            return "interrupted";
        }
    }

    private static String describe(Throwable thrown) {
        if (thrown instanceof Fixture.Failure) {
            return thrown.getMessage();
        }
        StringBuilder text = new StringBuilder(thrown.toString());
        if (thrown.getCause() != null) {
            text.append(" caused by ").append(thrown.getCause());
        }
        for (StackTraceElement frame : thrown.getStackTrace()) {
            if (frame.getClassName().startsWith("interop.")) {
                return text.append(" at ").append(frame).toString();
            }
        }
        return text.toString();
    }
}
