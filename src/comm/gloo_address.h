// The addresses of this machine that its rank may give to the others, as numbers.
#pragma once

#include <string>

namespace glint {

// UserError where it is none of this machine's.
std::string address_of_host(const std::string& host);
// The interface's first one, IPv4 before IPv6; UserError where there is none.
std::string address_of_interface(const std::string& interface);
// From which this machine reaches another, as its routes are; "" where that can't be said. Nothing is sent.
std::string address_towards(const std::string& host);
// This end of a connection; "" where it has none.
std::string address_of_socket(int socket);
// Whether no other machine can reach it.
bool is_loopback(const std::string& address);

}  // namespace glint
