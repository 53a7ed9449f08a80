# The window of tk_monitor. The program calls these procedures, and the buttons call `disconnect` of the program.

package require Tk

wm title . "tk_monitor"
wm geometry . 470x340+8+30
wm minsize . 400 300
ttk::style theme use clam
. configure -background [ttk::style lookup . -background]

ttk::label .totals -textvariable totals
canvas .graph -height 90 -background #10202c -highlightthickness 0
ttk::treeview .peers -columns {lines received sent} -height 6 -selectmode browse
ttk::frame .buttons
ttk::button .buttons.disconnect -text Disconnect -command disconnect_selected
ttk::button .buttons.quit -text Quit -command {destroy .}

.peers heading #0 -text Peer -anchor w
.peers column #0 -width 180
foreach column {lines received sent} {
    .peers heading $column -text [string totitle $column] -anchor e
    .peers column $column -width 90 -anchor e
}
grid .totals -sticky w -padx 8 -pady 6
grid .graph -sticky ew -padx 8
grid .peers -sticky nsew -padx 8 -pady 6
grid .buttons -sticky e -padx 8 -pady {0 8}
grid .buttons.disconnect .buttons.quit -padx 2
grid columnconfigure . 0 -weight 1
grid rowconfigure . 2 -weight 1

proc show_peer {number address lines received sent} {
    if {![.peers exists $number]} {
        .peers insert {} end -id $number -text $address
    }
    .peers item $number -values [list $lines "$received bytes" "$sent bytes"]
}

proc forget_peer {number} {
    if {[.peers exists $number]} {
        .peers delete $number
    }
}

proc show_totals {address count rate} {
    set ::totals "$count connections to $address, $rate lines a second"
}

# Draws the latest rates as bars.
proc show_rates {rates} {
    .graph delete all
    set highest [tcl::mathfunc::max 1 {*}$rates]
    set right [winfo width .graph]
    foreach rate [lreverse $rates] {
        set top [expr {90 - 80.0 * $rate / $highest}]
        .graph create rectangle [expr {$right - 6}] $top $right 90 -fill #58b4e8 -width 0
        incr right -8
    }
}

proc disconnect_selected {} {
    foreach number [.peers selection] {
        set peer [.peers item $number -text]
        set message "Disconnect $peer?"
        if {[tk_messageBox -parent . -icon question -type yesno -title tk_monitor -message $message]} {
            disconnect $number
        }
    }
}

# Returns the answer, or nothing if another question is open.
proc ask {peer question} {
    if {[winfo exists .__tk__messagebox]} {
        return
    }
    set text [list -message "$peer asks:" -detail $question]
    return [tk_messageBox -parent . -icon question -type yesno -title Question {*}$text]
}

proc close_dialogs {} {
    destroy .__tk__messagebox
}
