// What the adapter asks of an application of wxWidgets. Source: the classes wxApp, wxDialog and wxEventLoopBase of its
// manual.

#include <gtk/gtk.h>
#include <wx/app.h>
#include <wx/dialog.h>
#include <wx/evtloop.h>
#include <wx/toplevel.h>

// The time between two steps of the end.
static const guint STEP_MILLISECONDS = 5;

// OnRun, and not MainLoop, lets the application exit with its last frame. No exception reaches Rust.
extern "C" void ropewalk_wx_run(void *app)
{
    try {
        static_cast<wxApp *>(app)->OnRun();
    } catch (...) {
        static_cast<wxApp *>(app)->OnUnhandledException();
    }
}

// Answers messages and choosers of files, which are dialogs of GTK with loops of their own.
static void close_dialogs_of_gtk()
{
    GList *windows = gtk_window_list_toplevels();
    // The handler of an answer may destroy other windows.
    g_list_foreach(windows, [](gpointer window, gpointer) { g_object_ref(window); }, nullptr);
    for (GList *window = windows; window; window = window->next) {
        if (GTK_IS_DIALOG(window->data) && gtk_window_get_modal(GTK_WINDOW(window->data)))
            gtk_dialog_response(GTK_DIALOG(window->data), GTK_RESPONSE_CANCEL);
    }
    g_list_free_full(windows, g_object_unref);
}

// Returns the modal dialog that was opened last.
static wxDialog *innermost_dialog()
{
    for (wxWindowList::reverse_iterator window = wxTopLevelWindows.rbegin(); window != wxTopLevelWindows.rend(); ++window) {
        wxDialog *dialog = dynamic_cast<wxDialog *>(*window);
        if (dialog && dialog->IsModal())
            return dialog;
    }
    return nullptr;
}

// Ends the innermost loop, and returns whether a loop around it is left.
static gboolean end_a_loop(gpointer app_pointer)
{
    wxApp *app = static_cast<wxApp *>(app_pointer);
    wxEventLoopBase *active = wxEventLoopBase::GetActive();
    if (wxTheApp != app || !active)
        return G_SOURCE_REMOVE;
    close_dialogs_of_gtk();
    if (active == app->GetMainLoop()) {
        app->ExitMainLoop();
        return G_SOURCE_REMOVE;
    }
    if (wxDialog *dialog = innermost_dialog())
        dialog->EndModal(wxID_CANCEL);
    else
        active->ScheduleExit();
    return G_SOURCE_CONTINUE;
}

// Ends the main loop and the loops inside it, one after the other, because only the innermost one can be ended.
extern "C" void ropewalk_wx_exit(void *app)
{
    if (end_a_loop(app) == G_SOURCE_CONTINUE)
        g_timeout_add(STEP_MILLISECONDS, end_a_loop, app);
}
