// The functions by which the adapter reaches Qt: one timer, one notifier, one loop. All decisions are in lib.rs.

#include <QCoreApplication>
#include <QEventLoop>
#include <QSocketNotifier>
#include <QThread>
#include <QTimer>

namespace {

class Host final : public QObject {
public:
    using Due = void (*)(const void *data, bool event);

    QTimer timer;
    QTimer limit;
    QSocketNotifier *notifier = nullptr;
    Due due = nullptr;
    const void *data = nullptr;
    int depth = 0;              // the number of calls of `due` on the stack
    bool executes = false;      // whether QCoreApplication::exec runs for the reactor
    QEventLoop *loop = nullptr; // the loop of a run inside another loop

    Host()
    {
        for (QTimer *each : {&timer, &limit}) {
            each->setSingleShot(true);
            each->setTimerType(Qt::PreciseTimer);
        }
        connect(&timer, &QTimer::timeout, this, [this] { call(false); });
    }

    void watch(qintptr handle)
    {
        notifier = new QSocketNotifier(handle, QSocketNotifier::Read, this);
        notifier->setEnabled(false);
        connect(notifier, &QSocketNotifier::activated, this, [this] { call(true); });
    }

    // A callback may drop the adapter: the object lives until the loop deletes it.
    void call(bool event)
    {
        if (!due)
            return;
        ++depth;
        due(data, event);
        --depth;
    }
};

} // namespace

extern "C" {

bool ropewalk_qt_is_here()
{
    const QCoreApplication *application = QCoreApplication::instance();
    return application && application->thread() == QThread::currentThread();
}

void ropewalk_qt_start()
{
    static int argc = 1;
    static char name[] = "ropewalk";
    static char *argv[] = {name, nullptr};
    if (QCoreApplication::instance())
        return;
    new QCoreApplication(argc, argv); // for as long as the process
    // The first pass of GLib's dispatcher does not sleep.
    QCoreApplication::processEvents();
}

Host *ropewalk_qt_new() { return new Host; }

void ropewalk_qt_watch(Host *host, qintptr handle) { host->watch(handle); }

void ropewalk_qt_set_due(Host *host, Host::Due due, const void *data)
{
    host->due = due;
    host->data = data;
}

void ropewalk_qt_enable(Host *host, bool on)
{
    if (host->notifier)
        host->notifier->setEnabled(on);
}

void ropewalk_qt_sleep(Host *host, int milliseconds) { host->timer.start(milliseconds); }

void ropewalk_qt_stop_timer(Host *host) { host->timer.stop(); }

// In any thread. The turn is made by the timer, because Qt delivers an event that is posted during a delivery at once, and
// turns that are always due would keep out everything else.
void ropewalk_qt_post(Host *host)
{
    QMetaObject::invokeMethod(host, [host] { host->timer.start(0); }, Qt::QueuedConnection);
}

void ropewalk_qt_run(Host *host)
{
    if (QThread::currentThread()->loopLevel() == 0) {
        host->executes = true;
        QCoreApplication::exec();
        host->executes = false;
    } else {
        QEventLoop loop;
        host->loop = &loop;
        loop.exec();
        host->loop = nullptr;
    }
}

void ropewalk_qt_end(Host *host)
{
    // Not `quit`, which first asks every window to close.
    if (host->executes)
        QCoreApplication::exit();
    if (host->loop)
        host->loop->exit();
}

// One pass, which sleeps for at most the time. A negative time sets no limit.
void ropewalk_qt_pass(Host *host, int milliseconds)
{
    if (milliseconds > 0)
        host->limit.start(milliseconds);
    QEventLoop loop;
    loop.processEvents(milliseconds == 0 ? QEventLoop::AllEvents : QEventLoop::WaitForMoreEvents);
    host->limit.stop();
}

void ropewalk_qt_delete(Host *host)
{
    if (host->depth > 0)
        host->deleteLater();
    else
        delete host;
}
}
