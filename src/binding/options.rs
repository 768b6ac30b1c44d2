//! Options on their way from JavaScript.

use std::collections::BTreeMap;

use napi::ValueType;
use napi::bindgen_prelude::{ClassInstance, Function, JsObjectValue, JsValue, Object, Unknown};

use super::credentials::{NativeCredentials, NativeLogin};
use super::promise::{Coded, coded};
use super::uncoded;
use crate::config::options::{Given, Options};

/// The options of a constructor, validated. `call` calls the function in `credentials`, where it is one.
pub fn validated(
    options: Object,
    credentials: Option<ClassInstance<NativeCredentials>>,
    call: Option<Function<NativeLogin, ()>>,
) -> napi::Result<Options, Coded> {
    let mut given = fields(options, true).map_err(uncoded)?;
    if let (Some(credentials), Some(call)) = (credentials, call) {
        let function = credentials.function(call).map_err(uncoded)?;
        given.insert("credentials".into(), Given::Credentials(function));
    }
    Options::from_given(given).map_err(|error| coded(&error))
}

/// A value as it was given. Reads the fields of an object, and of its fields only `tls`, because others may be
/// cyclic.
pub fn value(value: Unknown) -> napi::Result<Given> {
    nested(value, true, true)
}

fn fields(object: Object, has_tls: bool) -> napi::Result<BTreeMap<String, Given>> {
    let mut found = BTreeMap::new();
    for name in Object::keys(&object)? {
        let value: Unknown = object.get_named_property_unchecked(&name)?;
        if value.get_type()? != ValueType::Undefined {
            let is_tls = has_tls && name == "tls";
            found.insert(name, nested(value, is_tls, false)?);
        }
    }
    Ok(found)
}

fn nested(value: Unknown, is_looked_into: bool, has_tls: bool) -> napi::Result<Given> {
    Ok(match value.get_type()? {
        ValueType::Undefined => Given::Other("undefined"),
        ValueType::String => Given::Text(value.coerce_to_string()?.into_utf8()?.into_owned()?),
        ValueType::Number => Given::Number(value.coerce_to_number()?.get_double()?),
        ValueType::Boolean => Given::Flag(value.coerce_to_bool()?),
        ValueType::Null => Given::Other("null"),
        ValueType::Function => Given::Other("a function"),
        ValueType::Symbol => Given::Other("a symbol"),
        ValueType::BigInt => Given::Other("a bigint"),
        ValueType::Object if is_looked_into && !value.is_array()? => {
            Given::Fields(fields(value.coerce_to_object()?, has_tls)?)
        }
        _ => Given::Other("an object"),
    })
}
