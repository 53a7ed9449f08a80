//! The table `[[service]]` as the options of its kind.
//!
//! The keys `kind` and `name` belong to the file, so they are removed before the options are read. A kind whose options
//! have a field of that name gets the key as well. serde passes the names of the fields to `deserialize_struct` alone.

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

/// The keys of `[[service]]` that are not options.
pub(super) const OWN_KEYS: [&str; 2] = ["kind", "name"];

/// One table `[[service]]`, complete.
pub(super) struct ServiceTable<'de>(pub(super) Spanned<DeTable<'de>>);

impl<'de> ServiceTable<'de> {
    /// Returns the table without those of the file's own keys that are not in `fields`.
    fn options(self, fields: &[&str]) -> ValueDeserializer<'de> {
        let span = self.0.span();
        let mut table = self.0.into_inner();
        for key in OWN_KEYS.iter().filter(|key| !fields.contains(*key)) {
            table.remove(*key);
        }
        Spanned::new(span, DeValue::Table(table)).into()
    }
}

impl<'de> Deserializer<'de> for ServiceTable<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.options(&[]).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.options(fields).deserialize_struct(name, fields, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.options(&[]).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}
